"""What the configurations of Sridhar et al. 2025 share: recordings, their simulation, windows, and whole models."""

import ml_collections

from configs import common
from openretina_jax.sources.sridhar_2025.responses import UNRELIABLE_CELLS
from openretina_jax.sources.sridhar_2025.sessions import CROP
from openretina_jax.sources.sridhar_2025.stimuli import FIXATION_FILES

MANY_CELL_WORDS = ("simulated", "quick")
ONE_CELL_WORDS = (*MANY_CELL_WORDS, "all_cells")

_RETINAS = tuple(FIXATION_FILES)
_PREDICTED_FRAMES = 100  # of a window


def data(stimulus: str, *retinas: str, cell_index: int | None = None) -> ml_collections.ConfigDict:
    """Recordings of some retinas: of one cell, or of all that respond reliably.

    Args:
        stimulus: "natural_movie" or "white_noise".
        retinas: names of the sessions.
        cell_index: the only cell that is taken.
    """
    natural = stimulus == "natural_movie"
    return common.data(
        "sridhar_2025",
        stimulus=stimulus,
        retinas=retinas,
        cell_index=cell_index,
        excluded_cells=UNRELIABLE_CELLS[stimulus],  # unless one cell is chosen
        crops=dict.fromkeys(_RETINAS, CROP),
        fixation_files=FIXATION_FILES,
        sta_mirror="left_right" if natural else None,
        simulated={
            "stimulus": stimulus,
            "n_sessions": len(retinas),
            "neurons_per_session": 12,
            "n_trials": 20,
            "frames_per_trial": 1700,
            "test_frames": 850,
            "test_trials": 20,
            "height": 150,
            "width": 200,
            "padding": 50,
            "margin_rows": 35,
            "margin_columns": 55,
            "n_images": 120,
            "centre_sd_px": 3.0,
            "seed": 0,
        },
    )


def spatial_contrast(
    chosen: set[str], stimulus: str, retina: str, *, cell_index: int | None = None, windows_per_step: int = 16
) -> ml_collections.ConfigDict:
    """Spatial contrast models, with filters from spike-triggered averages.

    Args:
        chosen: the words after the colon.
        stimulus, retina: of the recording.
        cell_index: one cell, in openretina's form for single cells (None: all reliable ones, in that for many).
        windows_per_step: windows of a step.
    """
    config = _without_core("spatial_contrast", data(stimulus, retina, cell_index=cell_index))
    readout = config.model.readout.spatial_contrast
    readout.flip_sta = flips_sta(stimulus)
    use_windows(config, lag=29, windows_per_step=windows_per_step)
    if cell_index is not None:
        readout.patch, readout.nonnegative, readout.variance_floor = (15, 15), "w", 0.0
        # a mean over neurons and frames, divided by their number
        config.objective.loss.poisson.samples = 1 / (windows_per_step * _PREDICTED_FRAMES)
    use_words(config, chosen)
    return config


def flips_sta(stimulus: str) -> bool:
    """Whether spike-triggered averages, which come from white noise, are mirrored with respect to the stimulus."""
    return stimulus == "natural_movie"


def separable_ln(chosen: set[str], stimulus: str, retina: str, *, cell_index: int) -> ml_collections.ConfigDict:
    """LN models with kernels that are separable in space and time.

    Args:
        chosen: the words after the colon.
        stimulus, retina: of the recording.
        cell_index: the cell that is taken, unless the words say otherwise.
    """
    config = _without_core("separable_lnp", data(stimulus, retina, cell_index=cell_index))
    # a softplus without an offset is at least ln 2 on average if the stimulus has mean 0: 59 spikes a second
    config.model.readout.separable_lnp.nonlinearity = "parametrized_softplus"
    config.optimizer.learning_rate = 0.005
    use_windows(config, lag=29, windows_per_step=16)
    use_words(config, chosen)
    return config


def _without_core(readout: str, recordings: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Training of a readout that sees the stimulus itself."""
    config = common.training()
    config.data = recordings
    config.model = common.experiment_model()
    config.model.core.kind, config.model.readout.kind = "identity", readout
    return config


def use_windows(config: ml_collections.ConfigDict, lag: int, windows_per_step: int) -> None:
    """Take windows within the trials, of which 100 frames are predicted, one retina a step.

    Args:
        config: changed.
        lag: frames at the beginning of a window that are not predicted.
        windows_per_step: windows of a step.
    """
    config.train.order = "session"
    config.train.windows.session.window_frames = lag + _PREDICTED_FRAMES
    config.train.windows.session.windows_per_step = windows_per_step
    config.train.windows.session.within_clips = True
    config.objective.loss.poisson.samples = windows_per_step * _PREDICTED_FRAMES


def use_words(config: ml_collections.ConfigDict, chosen: set[str]) -> None:
    """Follow the words after the colon.

    ``all_cells`` takes all reliable cells instead of one. ``simulated`` takes simulated retinas, which have few cells,
    the first two of each unreliable. ``quick`` trains for a few epochs, and on a small screen if simulated.
    """
    if "all_cells" in chosen:
        config.data.cell_index = None
    if "simulated" in chosen:
        config.data.simulated.enabled = True
        config.data.retinas = _RETINAS[: config.data.simulated.n_sessions]
        config.data.excluded_cells = {retina: (0, 1) for retina in _RETINAS}
        if config.data.cell_index is not None:
            config.data.cell_index = 2
        config.train.windows.session.windows_per_step = 8  # recordings are short: more, smaller steps
    if "quick" in chosen:
        config.train.epochs = min(config.train.epochs, 20)
    if {"simulated", "quick"} <= chosen:
        _use_small_screen(config)


def _use_small_screen(config: ml_collections.ConfigDict) -> None:
    screen = {"height": 36, "width": 40, "padding": 12}
    config.data.screen = screen
    config.data.crops = {retina: (6, 6, 8, 8) for retina in _RETINAS}
    config.data.simulated.update(
        {
            **screen,
            "margin_rows": 6,
            "margin_columns": 8,
            "test_frames": 425,
            "n_images": 40,
            "centre_sd_px": 2.0,
        }
    )
