"""Table of the indices of all tuning experiments."""

from collections.abc import Callable, Sequence

import pandas as pd

from openretina_jax.errors import UserError, nearest
from openretina_jax.insilico.optimize import Progress
from openretina_jax.insilico.presentation import Screen
from openretina_jax.insilico.tuning import full_field, motion, receptive_field
from openretina_jax.insilico.tuning.receptive_field import Centres
from openretina_jax.insilico.tuning.result import Tuning
from openretina_jax.models.model import Model

ALIKE: dict[str, Callable[..., Tuning]] = {
    "direction": motion.direction,
    "orientation": motion.orientation,
    "speed": motion.speed,
    "spatial_frequency": motion.spatial_frequency,
    "temporal_frequency": full_field.temporal_frequency,
    "contrast": full_field.contrast,
    "colour": full_field.colour,
    "chirp": full_field.chirp,
    "flashes": full_field.flashes,
}
UNIFORM = {"temporal_frequency", "contrast", "colour", "chirp", "flashes"}  # show the same everywhere
CENTRED: dict[str, Callable[..., Tuning]] = {"area": receptive_field.area, "annuli": receptive_field.annuli}


def tunings(
    model: Model,
    *,
    centres_px: Centres | None = None,
    experiments: Sequence[str] | None = None,
    screen: Screen | None = None,
    progress: Progress | None = None,
) -> dict[str, Tuning]:
    """Run tuning experiments with their usual stimuli.

    Args:
        model: any model.
        centres_px: row and column of the centre of every neuron's receptive field, for "area" and "annuli".
        experiments: names of the experiments (None: all, with "area" and "annuli" where centres are given).
        screen: the model's screen (None: as the model knows it).
        progress: called with (what, number done, number in all).

    Raises:
        UserError: there is no such experiment, or centres are missing.
    """
    usual = [*ALIKE, *(CENTRED if centres_px is not None else {})]
    chosen = usual if experiments is None else list(experiments)
    known, screen = ALIKE | CENTRED, screen or Screen.of(model)
    check_experiments(chosen, screen)
    for name in chosen:
        if name in CENTRED and centres_px is None:
            raise UserError(f'"{name}" shows its stimuli on the receptive fields; give centres_px')
    found = {}
    for number, name in enumerate(chosen):
        given = (centres_px,) if name in CENTRED else ()
        found[name] = known[name](model, *given, screen=screen)
        if progress is not None:
            progress("tuning", number + 1, len(chosen))
    return found


def check_experiments(names: Sequence[str] | None, screen: Screen) -> None:
    """Check that there are such experiments, and that the screen can show their stimuli.

    Args:
        names: of the experiments (None: all).
        screen: of the model.

    Raises:
        UserError: there are not, or the size of its pixels is not known.
    """
    chosen = [*ALIKE, *CENTRED] if names is None else names
    for name in chosen:
        if name not in ALIKE | CENTRED:
            raise UserError(f'there is no tuning experiment "{name}"; {nearest(name, [*ALIKE, *CENTRED])}')
    if set(chosen) - UNIFORM:
        _ = screen.pixel_um


def table(model: Model, found: dict[str, Tuning]) -> pd.DataFrame:
    """Tabulate the indices of experiments: ``session``, ``neuron``, and ``experiment_index`` for all indices.

    Args:
        model: the model.
        found: its tuning, by name of the experiment, see ``tunings``.
    """
    sessions = model.data_info.sessions
    columns: dict[str, object] = {
        "session": [session for session, count in sessions.items() for _ in range(count)],
        "neuron": [number for count in sessions.values() for number in range(count)],
    }
    for name, tuning in found.items():
        columns |= {f"{name}_{index}": values for index, values in tuning.indices.items()}
    return pd.DataFrame(columns)
