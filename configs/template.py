"""A start for your own experiment: copy this file, in the same folder, and change what its comments name.

    python scripts/check_data.py --config=configs/template.py --config.data.path=my_data
    python scripts/train.py --config=configs/template.py --config.data.path=my_data

It takes recordings in a folder of the layout that docs/your_own_data.md describes; for arrays in a notebook, give it to
``openretina_jax.train``. ":calcium" is for responses that may be negative: the squared error, and a readout without a
nonlinearity at its end. Any entry can also be set on the command line (``--config.model.core.kind=gru``). With the core
"identity" the readouts "separable_lnp" and "spatial_contrast" are models of single cells, which begin at the STAs of
the data. A line that is left out keeps its value in configs/common.py, or the default of the class of the core or
readout. A core, or any other part of your own, can be in your file, too (docs/extending.md).
"""

import ml_collections

from configs import common

WORDS = ("calcium",)


def get_config(arg: str | None = None) -> ml_collections.ConfigDict:
    """The configuration; ``arg`` holds words separated by commas."""
    chosen = common.words(arg, WORDS)
    config = common.training()

    # your data
    config.data = common.hdf5_data()
    config.data.test_names = ()  # names of the stimuli that are tests
    config.data.frame_rate_hz = 30.0
    config.data.clip_length = 75  # frames; clips are kept for validation as a whole
    config.data.validation_clips = 20

    # the model: sizes must fit your frames
    config.model = common.experiment_model()
    common.leave_output_to_loss(config.model)
    common.start_at_mean_responses(config.model)
    common.fit_any_recording(config.model)
    core = config.model.core.simple
    core.hidden_channels = (16, 16)
    core.temporal_kernel_sizes = (21, 11)  # frames: together about as long as your neurons remember
    core.spatial_kernel_sizes = (11, 5)  # pixels: the first about as wide as the centre of a receptive field

    # training: windows without their first frames, which the model needs to see, are predicted
    lag = sum(size - 1 for size in core.temporal_kernel_sizes)
    common.session_steps(config, windows_per_step=32, window_frames=lag + 20, lag=lag)
    config.optimizer.learning_rate = 0.01
    config.train.epochs = 100
    if "calcium" in chosen:
        common.choose_calcium(config)
    return config
