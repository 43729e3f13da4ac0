"""What the configurations share: the words after the colon, parts to choose among, data, and settings of training."""

from typing import Any

import ml_collections
from ml_collections.config_dict import placeholder

from openretina_jax.data.windows import SAMPLERS
from openretina_jax.errors import UserError, nearest
from openretina_jax.experiment.data import data_config as data
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.shifters import SHIFTERS
from openretina_jax.runtime import settings
from openretina_jax.training.objective import LOSSES, WindowLoss
from openretina_jax.training.optimizers import OPTIMIZERS
from openretina_jax.training.schedules import SCHEDULES

CORE_WORDS = ("gru",)  # words that choose a core
READOUT_WORDS = ("factorized", "klindt", "point_gaussian")  # words that choose a readout
ALONE = ("lnp", "separable_lnp")  # readouts that see the stimulus itself
HOEFLING = ("simulated", "quick", "greyscale", *CORE_WORDS, *READOUT_WORDS, *ALONE)


def words(arg: str | None, known: tuple[str, ...]) -> set[str]:
    """The words after the colon of ``--config=file.py:one,two``.

    Raises:
        UserError: a word is not known.
    """
    chosen = set(filter(None, (arg or "").split(",")))
    for word in sorted(chosen - set(known)):
        hint = nearest(word, known) if known else f"it knows no words: leave out :{arg}"
        raise UserError(f'the configuration does not know "{word}"; {hint}')
    return chosen


def with_locked_parts(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Let a mistyped entry of a part be an error, while the configuration itself takes more parts."""
    for part in config.values():
        if isinstance(part, ml_collections.ConfigDict):
            part.lock()
    return config


def model() -> ml_collections.ConfigDict:
    """Core, readout and shifter; ``model.core.kind``, ``model.readout.kind`` and ``model.shifter.kind`` choose.

    All options of all kinds are there, with the defaults of the classes in ``openretina_jax/modules/cores`` and
    ``readouts``, whose docs are theirs; what has no default is None, and must be given for the chosen kind. A kind of
    your own is there too if its class was registered before. Else ``kind`` may be "package.module:Name", with the
    options in a dictionary, ``model.core.options`` or ``model.readout.options``. Without a kind there is no shifter;
    with one, such as "mlp", behaviour in the data moves the readout.
    """
    return ml_collections.ConfigDict(
        {
            "core": settings.choice(CORES, "simple"),
            "readout": settings.choice(READOUTS, "gaussian_mask"),
            "shifter": settings.choice(SHIFTERS, None),
        }
    ).lock()


def experiment_model(**of_convolutions: Any) -> ml_collections.ConfigDict:
    """The ``model`` of the experiments: other weights of penalties, and other scales, than the classes' defaults.

    Args:
        of_convolutions: options of both cores with convolutions, besides those of the low-resolution models.
    """
    config = model()
    convolutions = {
        "hidden_channels": (16, 16),
        "temporal_kernel_sizes": (21, 11),
        "spatial_kernel_sizes": (11, 5),
        "hidden_padding": (0, 2, 2),
        "gamma_temporal": 40.0,
    }
    set_convolutions(config, **(convolutions | of_convolutions))
    config.core.gru.update({"gamma_input": 0.3, "gamma_in_sparse": 1.0, "projection": True, "recurrent_channels": 32})
    readouts = config.readout
    readouts.gaussian_mask.update({"mean_scale": 6.0, "var_scale": 4.0, "positive": True, "scale": True})
    readouts.factorized.update({"gamma_mask": 5.0, "gamma_features": 5.0})
    readouts.point_gaussian.gamma = 0.4
    readouts.lnp.update({"nonlinearity": "softplus", "bias": True, "gamma_smooth": 1.0, "gamma_sparse": 1.0})
    readouts.separable_lnp.update(
        {
            "temporal_frames": 30,
            "normalize": False,
            "nonlinearity": "softplus",
            "gamma_smooth_space": 1.0,
            "gamma_smooth_time": 1.0,
            "gamma_sparse": 1.0,
        }
    )
    readouts.cloned.source = ml_collections.ConfigDict({"kind": "gaussian_mask", **readouts.gaussian_mask})
    return config


def leave_output_to_loss(model: ml_collections.ConfigDict) -> None:
    """Let readouts predict numbers below 0 where the loss allows them, as for fluorescence."""
    for options in model.readout.values():
        if isinstance(options, ml_collections.ConfigDict) and "nonlinearity" in options:
            options.nonlinearity = placeholder(str)


def start_at_mean_responses(model: ml_collections.ConfigDict) -> None:
    """Let untrained readouts predict about the mean response of every neuron, whatever the nonlinearity.

    openretina starts offsets at the mean itself, which a softplus turns into far more than the rates of sparse spikes.
    """
    for options in model.readout.values():
        if isinstance(options, ml_collections.ConfigDict) and "start_at_mean" in options:
            options.start_at_mean = True


def start_at_receptive_fields(config: ml_collections.ConfigDict, chosen: set[str]) -> None:
    """Let readouts begin where receptive fields are, and score a moving average of the parameters.

    Neither is done with the word ``as_published``. docs/scores.md has the scores with and without.
    """
    if "as_published" in chosen:
        return
    config.train.average_decay = 0.99
    for options in config.model.readout.values():
        if isinstance(options, ml_collections.ConfigDict) and "start_at_location" in options:
            options.start_at_location = True


def fit_any_recording(model: ml_collections.ConfigDict) -> None:
    """Let models of single cells (core ``identity``) be fitted to recordings of which nothing else is known.

    They begin at the STAs, have an offset, and train the filters of the spatial contrast model.
    """
    readouts = model.readout
    readouts.separable_lnp.update({"start_at_sta": True, "bias": True})
    readouts.spatial_contrast.update(
        {
            "filters": "trained",
            "start_at_sta": True,
            "patch": (15, 15),
            "gamma_smooth_space": 1.0,
            "gamma_smooth_time": 1.0,
            "gamma_sparse": 1.0,
        }
    )


def choose_calcium(config: ml_collections.ConfigDict) -> None:
    """Take the squared error, for responses that may be negative, such as fluorescence; readouts end linearly then.

    Raises:
        UserError: the readout predicts rates alone.
    """
    if config.model.readout.kind == "factorized":
        raise UserError(
            'the word "calcium" stands for responses that may be negative, which the readout "factorized" cannot '
            "predict; leave one of them out"
        )
    config.objective.loss.kind = "squared_error"


def set_convolutions(config: ml_collections.ConfigDict, **options: Any) -> None:
    """Set options of both cores with convolutions, whichever is chosen.

    Args:
        config: of the model.
        options: by name.
    """
    config.core.simple.update(options)
    config.core.gru.update(options)


def hoefling_data(resolution: str, pixel_size_um: float) -> ml_collections.ConfigDict:
    """The recordings of Höfling et al. 2024 with the neurons of the published models."""
    return data(
        "hoefling_2024",
        resolution=resolution,
        pixel_size_um=pixel_size_um,
        simulated={"n_sessions": 8, "neurons_per_session": 40, "seed": 0, "resolution": resolution},
    )


def maheswaranathan_data() -> ml_collections.ConfigDict:
    """The recordings of Maheswaranathan et al. 2023."""
    simulated = {"n_sessions": 3, "neurons_per_session": 10, "seed": 0, "seconds": 300, "side": 50}
    return data("maheswaranathan_2023", simulated=simulated)


def hdf5_data() -> ml_collections.ConfigDict:
    """Recordings of one's own in a folder, see docs/your_own_data.md; the tests are those of the simulated ones."""
    return data(
        "hdf5",
        test_names=("random_noise_2", "random_noise_3"),
        simulated={"n_sessions": 2, "neurons_per_session": 15, "seed": 0, "clips": 300},
    )


def choose_parts(config: ml_collections.ConfigDict, chosen: set[str]) -> None:
    """Take the core and the readout that are named; openretina calls the factorized readout Klindt's.

    Raises:
        UserError: several words name the readout, or one names a readout alone and another the core.
    """
    for choices in ((*READOUT_WORDS, *ALONE), (*CORE_WORDS, *ALONE)):
        if len(several := [word for word in choices if word in chosen]) > 1:
            raise UserError(f"the words {' and '.join(several)} exclude each other; take one of them")
    for word in chosen.intersection(CORE_WORDS):
        config.model.core.kind = word
    for word in chosen.intersection(READOUT_WORDS):
        config.model.readout.kind = "factorized" if word == "klindt" else word


def choose_hoefling(config: ml_collections.ConfigDict, chosen: set[str]) -> None:
    """Take what the words ``HOEFLING`` name: simulated data, a model of one grey channel, parts, readouts alone.

    Raises:
        UserError: words exclude each other.
    """
    config.data.simulated.enabled = "simulated" in chosen
    choose_parts(config, chosen)
    # a GRU remembers the whole window: after a border, what it predicts would serve the neurons of one order alone
    config.train.windows.shared.within_clips = config.model.core.kind == "gru"
    for word in chosen.intersection(ALONE):
        config.model.core.kind, config.model.readout.kind = "identity", word
        config.model.core.identity.cut_first_frames = 30 if word == "lnp" else 0
        config.optimizer.learning_rate = 0.005
    if "greyscale" in chosen:
        set_convolutions(config.model, color_weights=(0.5, 0.5))
        config.model.core.identity.color_weights = (0.5, 0.5)


def session_steps(config: ml_collections.ConfigDict, *, windows_per_step: int, window_frames: int, lag: int) -> None:
    """Steps as in openretina: of one session each, with a loss that is a sum over all predicted frames.

    Args:
        config: with the parts of ``training``.
        windows_per_step: windows of a step.
        window_frames: frames of a window.
        lag: frames at the beginning of a window that are not predicted.
    """
    config.train.order = "session"
    config.train.windows.session.update({"window_frames": window_frames, "windows_per_step": windows_per_step})
    for kind in LOSSES.kinds():
        per_window = 1 if issubclass(LOSSES[kind], WindowLoss) else window_frames - lag
        config.objective.loss[kind].samples = float(windows_per_step * per_window)


def training() -> ml_collections.ConfigDict:
    """Training of recordings that share a stimulus.

    With ``train.order = "session"`` and without a moving average all is as in openretina.
    """
    optimizer, windows = settings.choice(OPTIMIZERS, "adamw"), settings.choice(SAMPLERS, "shared")
    optimizer.update(
        {
            "learning_rate": 0.01,  # of the first step; config.schedule changes it
            "clip_norm": 1.0,  # of a step's gradient, at most; 0: any
            "accumulate": 1,  # batches whose gradients are averaged in a step
            "reset_when_lowered": False,  # forget moments when validation lowers the learning rate
        }
    )
    del windows["kind"]  # train.order chooses
    windows.session.update({"window_frames": 50, "windows_per_step": 128})
    windows.shared.update({"window_frames": 150, "windows_per_step": 4})
    config = ml_collections.ConfigDict(
        {
            "seed": 42,  # of initial parameters, dropout, and the order of windows
            "start_from": placeholder(str),  # folder of a run whose trained model is the start; sessions are added
            "autoencoder": {"hidden": placeholder(int), "sparsity": 1e-3},  # of the responses of start_from's model
            # whether every type of cell counts as much, however many cells of it there are
            "objective": {"loss": settings.choice(LOSSES, "poisson"), "cell_type_weighted": False},
            "optimizer": optimizer,
            "schedule": settings.choice(SCHEDULES, "plateau"),
            "population": {  # many models in one run, see docs/populations.md
                "size": placeholder(int),  # members; without, one model
                "seed": 0,  # of the draws
                "vary": placeholder(object),  # such as {"optimizer.learning_rate": log_uniform(1e-3, 1e-1)}
                "chunk": placeholder(int),  # members computed at once; without, it is chosen
                "ensemble": placeholder(int),  # members of the ensemble, from the best on; without, all
            },
            # devices that share the windows of a step, and the neurons; -1: all that are left, see docs/scaling.md
            "mesh": {"data": -1, "neuron": 1},
            "stopping": {
                "epochs": 10,  # without improvement until the run ends
                "threshold": 1e-3,  # least improvement that counts
                # names the best epoch and lowers the rate, too: a kind, or {"kind": ..., option: value}
                "score": settings.free("correlation"),
            },
            "callbacks": (),  # of your own: "my_lab.my_module:MyCallback", or {"kind": ..., option: value}
            "logging": {  # besides metrics.csv, see docs/logging.md
                "tensorboard": True,  # event files in the workdir
                "wandb": False,  # a run of Weights & Biases
                "mlflow": False,  # a run of MLflow
                "project": placeholder(str),  # of wandb, experiment of mlflow; without, openretina_jax
                "run": placeholder(str),  # name that they show; without, that of the workdir
                "wandb_mode": placeholder(str),  # "offline"; without, what WANDB_MODE says
                "mlflow_uri": placeholder(str),  # without, what MLFLOW_TRACKING_URI says, or the folder mlruns
            },
            "train": {
                "order": "shared",  # of the sessions in a step, see docs/performance.md
                "windows": windows,
                "epochs": 100,  # at most
                "picture_every": 10,  # epochs between pictures for the trackers; 0: none
                "trainable": placeholder(tuple),  # parts such as ("readout",); without, all parameters
                "compute_dtype": "float32",  # or "bfloat16"
                "matmul_precision": "highest",  # or "high", "default": faster products on accelerators
                "frames_on_device": placeholder(bool),  # or on the host, which sends windows; without, as it fits
                "rematerialize": False,  # compute within layers again for gradients: less memory, more time
                "average_decay": 0.0,  # of a moving average of the parameters, such as 0.99; 0: none
            },
        }
    )
    return with_locked_parts(config)
