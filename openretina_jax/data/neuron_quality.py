"""Quality of the neurons of a data set: a table with a row for each, and problems of alignment and of units.

``quality.py`` has movies, sessions and splits.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int

from openretina_jax.data.alignment import TURNS, clear_part, disagreement_of_test, lags_by_third, offset, shift_of
from openretina_jax.data.dataset import Dataset, Session
from openretina_jax.data.locations import LOCATION, centres, centres_of_mass, power_maps
from openretina_jax.data.masked import mean_of
from openretina_jax.data.quality import Problem, split_half_reliability
from openretina_jax.data.triggered_averages import TriggeredAverages, standardized, triggered_averages
from openretina_jax.runtime.described import listed

TWIN = 0.95  # correlation of counts from which two units are one, if most of their counts are equal
TRACE_TWIN = 0.99  # the same of traces
_FEWEST_RESPONSES = 20  # frames with another response than the commonest, below which twins are chance
_DEAD_SHARE = 0.05  # of a recording
_DEAD_SPIKES = 50  # expected in a dead stretch
_DEAD_RATIO = 10  # times the fifth longest stretch
_FEWEST_POSITIONS, _FEWEST_FIELDS = 5, 3  # neurons
_COMPACT_GAIN = 0.1


def neuron_quality(dataset: Dataset, averages: Mapping[str, TriggeredAverages] | None = None) -> pd.DataFrame:
    """Neurons of a data set, a row each.

    Args:
        dataset: the data set.
        averages: STAs of its sessions (None: they are computed).

    Returns:
        Columns ``session``, ``neuron``, ``unit`` if that is known, ``mean_response`` per frame, ``sta_z`` (largest
        z-score of the STA), ``lag`` (frames from the movie to the response, where the STA is largest), that of each
        third of the recording, ``rf_row`` and ``rf_column`` (centre of the STA in pixels of the movie as the session
        saw it), ``reliability`` (mean of ``split_half_reliability`` over tests), ``twin`` (neuron with nearly the same
        response) and ``silent_frames`` (longest stretch in which the response does not change). Lags and centres of
        neurons whose STA chance explains are NaN.
    """
    averages = triggered_averages(dataset) if averages is None else averages
    parts = []
    for session in dataset.sessions:
        found = averages[session.name]
        known = [split_half_reliability(trials) for trials in session.repeats.values()]
        thirds = np.where(found.significant[:, None], lags_by_third(found), np.nan)
        middle = centres(found, session)
        twin = np.full(session.n_neurons, np.nan)
        for one, other in reversed(twins(session.responses)):
            twin[other] = one
        columns = {
            "session": session.name,
            "neuron": np.arange(session.n_neurons),
            "mean_response": mean_of(session.responses),
            "sta_z": found.z_score,
            "lag": np.where(found.significant, found.best_lag(found.kernel), np.nan),
            "lag_first_third": thirds[:, 0],
            "lag_middle_third": thirds[:, 1],
            "lag_last_third": thirds[:, 2],
            "rf_row": np.where(found.significant, middle[:, 0], np.nan),
            "rf_column": np.where(found.significant, middle[:, 1], np.nan),
            "reliability": mean_of(np.stack(known)) if known else np.nan,
            "twin": twin,
            "silent_frames": longest_stretches(session.responses)[:, 0],
        }
        if "unit" in session.neurons:
            columns["unit"] = session.neurons["unit"]
        parts.append(pd.DataFrame(columns))
    table = pd.concat(parts, ignore_index=True)
    if "unit" in table:
        table.insert(2, "unit", table.pop("unit"))
    return table


def twins(responses: Float32[np.ndarray, "time neuron"]) -> list[tuple[int, int]]:
    """Pairs of neurons whose responses are nearly equal, such as units that were sorted twice.

    A stimulus alone may make counts similar, but not so many of them equal. Neurons that answer in fewer than 20 frames
    are left out, since chance makes pairs of them.
    """
    scores, recorded = standardized(responses)
    products = scores.T @ scores / np.maximum(recorded.T.astype(np.float32) @ recorded.astype(np.float32), 1)
    active = _active_frames(responses) >= _FEWEST_RESPONSES
    counts = not np.mod(np.nan_to_num(responses), 1).any()
    pairs = np.argwhere(np.triu(products > (TWIN if counts else TRACE_TWIN), 1) & active[:, None] & active).tolist()
    return [(a, b) for a, b in pairs if not counts or _equal_share(responses[:, a], responses[:, b]) > 0.5]


def _equal_share(one: Float32[np.ndarray, " time"], other: Float32[np.ndarray, " time"]) -> float:
    """Share of the frames in which either neuron answers, in which both answer equally."""
    either = (one > np.nanmin(one)) | (other > np.nanmin(other))
    return float((one == other)[either].mean())


def _active_frames(responses: Float32[np.ndarray, "time neuron"]) -> np.ndarray:
    recorded = np.isfinite(responses)
    lowest = np.where(recorded, responses, np.inf).min(axis=0)
    return (recorded & (responses > lowest)).sum(axis=0)


def longest_stretches(
    responses: Float32[np.ndarray, "time neuron"], count: int = 5
) -> Int[np.ndarray, "neuron stretch"]:
    """Lengths in frames of the longest stretches in which a response does not change, the longest first.

    Frames that were not recorded end a stretch.
    """
    result = np.zeros((responses.shape[1], count), int)
    for neuron, (_, lengths) in enumerate(map(_stretches, responses.T)):
        longest = np.sort(lengths)[::-1][:count]
        result[neuron, : len(longest)] = longest
    return result


def _stretches(response: Float32[np.ndarray, " time"]) -> tuple[np.ndarray, np.ndarray]:
    """Beginnings and lengths of the stretches of equal values of one neuron."""
    changes = np.flatnonzero(response[1:] != response[:-1]) + 1  # NaN differs from itself
    starts = np.concatenate([[0], changes])
    return starts, np.diff(starts, append=len(response))


def dead_stretch(response: Float32[np.ndarray, " time"]) -> tuple[int, int] | None:
    """First and last frame of the longest stretch without a response of a neuron that is otherwise active, if any.

    It is dead if it is at least a twentieth of the recording and ten times as long as the fifth longest stretch, and
    if 50 frames with a response would be expected in it.
    """
    starts, lengths = _stretches(response)
    place = int(lengths.argmax())
    start, length = int(starts[place]), int(lengths[place])
    others = np.sort(np.delete(lengths, place))[::-1]
    if length < _DEAD_SHARE * len(response) or len(others) < 4 or length < _DEAD_RATIO * others[3]:
        return None
    elsewhere = np.delete(response, slice(start, start + length))
    active = float(np.nanmean(elsewhere != response[start]))
    return (start, start + length - 1) if active * length > _DEAD_SPIKES else None


def neuron_problems(dataset: Dataset, averages: Mapping[str, TriggeredAverages]) -> list[Problem]:
    """Problems of alignment and of units, each with its place: a session, or neurons of one."""
    found: list[Problem] = []
    for session in dataset.sessions:
        of_session = averages[session.name]
        timing = _timing(dataset, session, of_session)
        found += [*timing, *_orientation(dataset, session, of_session, steady=not timing)]
        if pairs := twins(session.responses):
            named = listed([f"{one} and {other}" for one, other in pairs], 10)
            found.append((f"{session.name} neurons {named}", "nearly the same responses; keep one of the two"))
        for neuron, response in enumerate(session.responses.T):
            if stretch := dead_stretch(response):
                found.append(
                    (
                        f"{session.name} neuron {neuron}",
                        f"no response from frame {stretch[0]:,} to {stretch[1]:,}, but before or after; put NaN there "
                        "if the unit was lost",
                    )
                )
    return found


def unrelated(averages: Mapping[str, TriggeredAverages]) -> list[str]:
    """Lines about sessions no neuron of which has an STA that chance does not explain.

    That is no mistake by itself: STAs of neurons that answer to light and dark alike are flat, and of short recordings
    weak.
    """
    return [
        f"{name}: no neuron has an STA that chance does not explain (largest z-score {one.z_score.max():.1f}, "
        f"{one.threshold:.1f} would tell), so that an offset, a drift or swapped axes cannot be seen"
        for name, one in averages.items()
        if not one.significant.any()
    ]


def _timing(dataset: Dataset, session: Session, averages: TriggeredAverages) -> list[Problem]:
    found: list[Problem] = []
    if (lag := offset(averages)) is not None:
        found.append(
            (
                session.name,
                f"responses come before the movie: STAs are largest {-lag:.1f} frames after the response; shift the "
                "responses later, or check which trigger is the first frame",
            )
        )
    frames = len(session.responses)
    if (shift := shift_of(averages, frames)) is None:
        if part := clear_part(averages, frames):
            begin, end = part
            found.append(
                (
                    session.name,
                    f"responses follow the movie from about frame {begin:,} to {end:,}, but hardly elsewhere: the "
                    "rate of the frames is wrong, frames are missing, or the neurons were lost",
                )
            )
        return found
    size = f"{abs(shift.frames):.1f} frames"
    if shift.at is not None:
        what = "later: a trigger was counted twice" if shift.frames > 0 else "earlier: a frame or trigger is missing"
        found.append((session.name, f"from about frame {shift.at:,} on responses come {size} {what}; mend it there"))
        return found
    later = "later" if shift.frames > 0 else "earlier"
    mend = "" if dataset.interrupted else f", so that a frame lasts {_frame_ms(dataset, session, shift.frames)}"
    found.append(
        (
            session.name,
            f"responses drift: they come {size} {later} at the end of the recording than at its beginning{mend}; count "
            "spikes with the times of the triggers",
        )
    )
    return found


def _frame_ms(dataset: Dataset, session: Session, drift: float) -> str:
    duration = 1000 / dataset.stimuli[session.stimulus].frame_rate_hz
    return f"{duration * (1 + drift / len(session.responses)):.7g} ms, not {duration:.7g} ms"


def _orientation(dataset: Dataset, session: Session, averages: TriggeredAverages, steady: bool) -> list[Problem]:
    told = {test: disagreement_of_test(dataset, session, test, averages, steady) for test in session.repeats}
    found = [(session.name, f'test "{test}" {what}') for test, what in told.items() if what]
    if scattered(averages):
        height, width = averages.size[:2]
        found.append(
            (
                session.name,
                f"receptive fields of the STAs are scattered, but compact if the pixels of a frame of {height} x "
                f"{width} are read in the order of one of {width} x {height}; name the axes of the movie instead of "
                "reshaping it",
            )
        )
    if turn := _turn_of_positions(session, averages, dataset.stimuli[session.stimulus].frames.shape[1:3]):
        found.append(
            (
                session.name,
                f"receptive fields of the STAs lie where rf_location says only if frames are {turn}; bring the movie "
                "or the positions into one orientation",
            )
        )
    return found


def scattered(averages: TriggeredAverages) -> bool:
    """Whether receptive fields would be far more compact with pixels in the order of swapped height and width.

    Frames that are not square and were reshaped in a wrong order show it; averaged ones do not.
    """
    maps = np.abs(averages.weights[averages.significant].reshape(-1, *averages.size)).sum(axis=-1)
    count, height, width = maps.shape
    if averages.whitening.square > 1 or min(height, width) < 3 or height == width or count < _FEWEST_FIELDS:
        return False
    plain = _compactness(maps)
    others = (
        maps.reshape(count, width, height).swapaxes(1, 2),
        maps.swapaxes(1, 2).reshape(count, height, width),
    )
    better = max((_compactness(other) for other in others), key=lambda values: float(np.median(values)))
    gain = float(np.median(better - plain))
    return bool(gain > _COMPACT_GAIN and np.median(better) > 1.5 * np.median(plain) and (better > plain).mean() > 0.8)


def _compactness(maps: Float[np.ndarray, "neuron height width"]) -> Float[np.ndarray, " neuron"]:
    """Correlation of neighbouring pixels without taking the mean off: 0 for a single pixel, 1 for an even field."""
    across = (maps[:, :, 1:] * maps[:, :, :-1]).sum(axis=(1, 2))
    down = (maps[:, 1:] * maps[:, :-1]).sum(axis=(1, 2))
    return (across + down) / (2 * np.maximum(np.square(maps).sum(axis=(1, 2)), 1e-12))


def _turn_of_positions(session: Session, averages: TriggeredAverages, size: tuple[int, int]) -> str | None:
    """How frames must be turned for the STAs to lie at the known positions; None if as they are, or not known."""
    known = np.asarray(session.neurons.get(LOCATION, np.empty((0, 0))))
    chosen = averages.significant
    if known.ndim != 2 or known.shape[1:] != (2,) or known.dtype.kind not in "iuf" or chosen.sum() < _FEWEST_POSITIONS:
        return None
    maps = power_maps(averages, session)[chosen]
    distances = {
        name: float(
            np.median(np.linalg.norm(centres_of_mass(turn(maps), averages.whitening.square) - known[chosen], axis=1))
        )
        for name, turn in TURNS.items()
    }
    best = min(distances, key=lambda name: distances[name])
    plain = distances["as they are"]
    far = plain > 2 * averages.whitening.square and plain > 0.1 * max(size)
    return best if far and distances[best] < 0.4 * plain else None
