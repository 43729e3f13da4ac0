"""Simulator of files in the published format of Höfling et al. 2024, and of the responses without noise.

The format: a zip with one pickle of the stimulus, and a zip with one HDF5 file of the responses, which has a group per
session, an imaging field. See Höfling et al. 2024 (https://doi.org/10.7554/eLife.86860) for the experiment, and Baden
et al. 2016 for the chirp, the moving bar, the quality indices and the numbered groups of cells.
"""

import dataclasses
import os
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from jaxtyping import UInt8

from openretina_jax.data.conversion import check_choice
from openretina_jax.simulation import movies
from openretina_jax.simulation.imaging import IMAGING_RATE_HZ, PROTOCOLS, Imaging, quality_index
from openretina_jax.simulation.retina import CELL_TYPES, SCREEN_CENTRE, Neurons, Retina, Scaling, constants
from openretina_jax.simulation.truth import TRUTH_FILE, Header, KnownSession, write_header, write_session
from openretina_jax.simulation.writing import Progress, check_numbers
from openretina_jax.sources.hoefling_2024.sessions import (
    CLIP_FRAMES,
    N_CLIPS,
    PUBLISHED_STIMULI,
    RESPONSES,
    TEST_CLIPS,
)
from openretina_jax.sources.hoefling_2024.traces import FRAME_RATE_HZ

STIMULUS_FILES = {resolution: Path(file.path).stem for resolution, file in PUBLISHED_STIMULI.items()}
RESPONSES_FILE = Path(RESPONSES.path).stem

N_SEQUENCES = 20
N_GROUPS = 46
MAX_NEURONS = 256  # each must get a disc of its own on the 64 x 64 mask

_MASK_SIDE = 64
_MASK_PIXELS_PER_SCREEN_PIXEL = 25  # 50 µm / 2 µm
_FIELD_CORNER_PX = -1.25  # first mask pixel relative to the centre of the screen, in screen pixels
_TEST_PRESENTATIONS = np.r_[0:5, 59:64, 118:123]
_FIELDS = ("ventral1", "ventral2", "dorsal1")
_EXPERIMENTERS = ("simulated_a", "simulated_b")


@dataclasses.dataclass(frozen=True)
class SimulationConfig:
    """Size, seed and options of a simulation.

    Attributes:
        n_sessions: number of imaging fields; adding sessions does not change the first ones.
        neurons_per_session: number of neurons of each, of which about three quarters pass quality checks.
        seed: seed of all random numbers.
        field_names: "old" as published; "new" with the names of spikes and times in later exports.
        resolution: "18x16" or "72x64" pixels of the same scenes, with the same responses.
        noise: 1: responses vary from trial to trial; 0: every trial has the expected response, by which the ceiling
            of a score is known.

    Raises:
        UserError: a number is out of range.
    """

    n_sessions: int = 8
    neurons_per_session: int = 40
    seed: int = 0
    field_names: Literal["old", "new"] = "old"
    resolution: str = "18x16"
    noise: int = 1

    def __post_init__(self) -> None:
        check_numbers(self, most={"neurons_per_session": MAX_NEURONS})
        check_choice("resolution", self.resolution, STIMULUS_FILES)


def simulate(folder: Path, config: SimulationConfig, progress: Progress | None = None) -> dict[str, Path]:
    """Write stimulus, responses and the truth behind the responses into a folder; files of the same name are replaced.

    The truth, ``truth.h5``, has a group per session with noise-free responses at 30 Hz, ``train (time, neuron)`` in the
    order in which the clips were shown and ``test (time, neuron)``. For every neuron it has the name of its type, its
    other parameters and units (see ``Neurons`` and ``Scaling``), its mean training response, and the correlation
    between repeats for which the noise was scaled.

    Args:
        folder: where to write; made if missing.
        config: size, seed and options of the simulation.
        progress: called with (what is simulated, number done, number in all).

    Returns:
        The zipped stimulus and the zipped responses, by the options of ``load_hoefling_2024`` that take them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng((config.seed, 0))
    scenes = movies.NaturalScenes.drawn(rng, N_CLIPS + TEST_CLIPS)
    sequences = np.stack([rng.permutation(N_CLIPS) for _ in range(N_SEQUENCES)], axis=1).astype(np.uint8)
    clips = scenes.shown()
    mean, deviation = _statistics(clips[:N_CLIPS])
    clips = ((clips - mean) / deviation).astype(np.float32)
    stimulus_file = STIMULUS_FILES[config.resolution]
    retina = Retina({"natural": clips, "chirp": movies.chirp_clip(), "mb": movies.moving_bar_clips()})
    with tempfile.TemporaryDirectory(dir=folder, prefix=".simulating-") as temporary:
        work = Path(temporary)
        with (work / f"{stimulus_file}.pkl").open("wb") as file:
            finer = int(config.resolution.split("x")[0]) // movies.HEIGHT
            pickle.dump(published_stimulus(scenes, sequences, finer), file, 4)
        with h5py.File(work / f"{RESPONSES_FILE}.h5", "w") as responses, h5py.File(work / TRUTH_FILE, "w") as truth:
            shape = (movies.HEIGHT, movies.WIDTH, clips.shape[2])
            write_header(truth, Header("retina", constants(), shape, FRAME_RATE_HZ, identity="roi_id"))
            if progress is not None:
                progress("simulated sessions", 0, config.n_sessions)
            for index in range(config.n_sessions):
                name, fields, attributes, known = _simulate_session(retina, sequences, config, index)
                _write_group(responses, name, fields, attributes)
                write_session(truth, name, known)
                if progress is not None:
                    progress("simulated sessions", index + 1, config.n_sessions)
        _zip_one(work / f"{stimulus_file}.pkl", work / f"{stimulus_file}.zip")
        _zip_one(work / f"{RESPONSES_FILE}.h5", work / f"{RESPONSES_FILE}.zip")
        for name in (f"{stimulus_file}.zip", f"{RESPONSES_FILE}.zip", TRUTH_FILE):
            os.replace(work / name, folder / name)
    return {
        "stimuli_path": folder / f"{stimulus_file}.zip",
        "responses_path": folder / f"{RESPONSES_FILE}.zip",
    }


def published_stimulus(
    scenes: movies.NaturalScenes, sequences: UInt8[np.ndarray, "clip sequence"], finer: int
) -> dict[str, Any]:
    """Content of the published pickle; clips are made one by one, since fine ones are large.

    Args:
        scenes: scenes of the training clips, then of the test clips.
        sequences: orders of the training clips.
        finer: pixels per 50 µm along each axis.
    """
    n_clips, n_frames, size = len(sequences), CLIP_FRAMES, (finer * movies.HEIGHT, finer * movies.WIDTH)
    train, test = (np.empty((2, count * n_frames, *size), np.float32) for count in (n_clips, TEST_CLIPS))
    for clip in range(n_clips + TEST_CLIPS):
        movie, place = (train, clip) if clip < n_clips else (test, clip - n_clips)
        shown = scenes.shown(slice(clip, clip + 1), finer)[0]
        movie[:, place * n_frames : (place + 1) * n_frames] = shown.swapaxes(0, 1)
    mean, deviation = _statistics(train)
    for movie in (train, test):
        movie -= np.float32(mean)
        movie /= np.float32(deviation)
    return {
        "train": train,
        "test": test,
        "random_sequences": sequences,
        "movie_stats": {"dichromatic": {"mean": np.array([mean]), "sd": np.array([deviation])}},
    }


def _statistics(movie: np.ndarray) -> tuple[np.float64, np.float64]:
    """Mean and standard deviation of all pixels, part by part: the movie would not fit into memory twice."""
    parts = movie.reshape(-1, CLIP_FRAMES * movie.shape[-2] * movie.shape[-1])
    mean = np.mean([part.mean(dtype=np.float64) for part in parts])
    return mean, np.sqrt(np.mean([np.square(part - mean).mean(dtype=np.float64) for part in parts]))


def _simulate_session(
    retina: Retina, sequences: np.ndarray, config: SimulationConfig, index: int
) -> tuple[str, dict[str, np.ndarray], dict[str, str | int], KnownSession]:
    """Name, published fields, published attributes and truth of one session."""
    rng = np.random.default_rng((config.seed, 1, index))
    experiment, field = divmod(index, len(_FIELDS))
    date = np.datetime64("2020-02-26") + 14 * experiment
    eye, sequence = ("right", "left")[int(rng.random() < 0.4)], int(rng.integers(N_SEQUENCES))

    roi_mask, centre_px = _place_neurons(rng, config.neurons_per_session)
    neurons = Neurons.drawn(rng, centre_px)
    reliability = _draw_reliability(rng, len(neurons))
    orders = _clip_orders(sequences[:, sequence].astype(np.int64))
    rates, scaling = retina.rates(neurons, orders, mirrored=eye == "left")
    rows = np.array([np.nonzero(roi_mask == -roi)[0].mean() for roi in range(1, len(neurons) + 1)])
    line_delay_s = rows / _MASK_SIDE / IMAGING_RATE_HZ
    noise = _noise_for(reliability, rates["natural"])

    fields = _describe_neurons(rng, neurons, roi_mask)
    for stimulus, protocol in PROTOCOLS.items():
        imaging = Imaging(stimulus, protocol, len(orders[stimulus]), line_delay_s)
        drawn = imaging.inferred_spikes(rng, rates[stimulus], noise)
        spikes = drawn if config.noise else imaging.expected_spikes(rates[stimulus])
        fields |= imaging.fields(rng, spikes, config.field_names)
        if stimulus == "chirp":
            fields["chirp_qi"] = quality_index(imaging.by_repeat(spikes, clips_per_repeat=1))
        if stimulus == "mb":
            fields["d_qi"] = quality_index(imaging.by_repeat(spikes, clips_per_repeat=8))

    attributes: dict[str, str | int] = {
        "date": str(date),
        "exp_num": experiment + 1,
        "experimenter": _EXPERIMENTERS[experiment % len(_EXPERIMENTERS)],
        "eye": eye,
        "field_id": _FIELDS[field],
        "scan_sequence_idx": sequence,
    }
    known = KnownSession(
        _truth(neurons, scaling, reliability, rates["natural"]),
        {"roi_id": fields["roi_ids"], "cell_type": fields["group_assignment"]},
        mirrored=eye == "left",
    )
    return f"session_{index + 1}_{_FIELDS[field]}_{str(date).replace('-', '')}", fields, attributes, known


def _place_neurons(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mask with a disc of -i for neuron i, from 1 on, and 1 elsewhere; and receptive-field centres at the discs."""
    per_side = int(np.ceil(np.sqrt(count)))
    room = _MASK_SIDE / per_side
    radius = min(0.35 * room, 3.0)
    cells = rng.permutation(per_side**2)[:count]
    corners = np.stack(np.divmod(cells, per_side), axis=1) * room
    centres = corners + rng.uniform(radius, room - radius, (count, 2)) - 0.5
    mask = np.ones((_MASK_SIDE, _MASK_SIDE), np.float32)
    rows, columns = np.indices(mask.shape)
    places = np.empty((count, 2))
    for index, (row, column) in enumerate(centres):
        distance = np.hypot(rows - row, columns - column)
        disc = distance <= max(radius, distance.min())
        mask[disc] = -(index + 1)
        places[index] = rows[disc].mean(), columns[disc].mean()
    offsets = places / _MASK_PIXELS_PER_SCREEN_PIXEL + _FIELD_CORNER_PX
    return mask, SCREEN_CENTRE + offsets + rng.normal(0, 0.2, (count, 2))


def _draw_reliability(rng: np.random.Generator, count: int) -> np.ndarray:
    """Correlation between repeats: about 0.6 in most neurons, next to nothing in those that fail quality checks."""
    good = np.clip(rng.normal(0.6, 0.1, count), 0.4, 0.85)
    return np.where(rng.random(count) < 0.12, rng.uniform(0.02, 0.08, count), good)


def _noise_for(reliability: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Ratio of the variance of the noise to the rate that leads to the correlation between repeats."""
    noise_variance = rates.var(axis=0) * (1 - reliability) / reliability
    # Readers interpolate linearly between imaging frames; that leaves two thirds of the variance of white noise.
    return (1.5 * noise_variance / rates.mean(axis=0)).astype(np.float32)


def _clip_orders(sequence: np.ndarray) -> dict[str, np.ndarray]:
    """Clips of each stimulus in the order shown; the natural test clips come first, in the middle and last."""
    test = N_CLIPS + np.arange(TEST_CLIPS)
    half = N_CLIPS // 2
    return {
        "natural": np.concatenate([test, sequence[:half], test, sequence[half:], test]),
        "chirp": np.zeros(5, np.int64),
        "mb": np.tile(np.arange(8), 3),
    }


def _describe_neurons(rng: np.random.Generator, neurons: Neurons, roi_mask: np.ndarray) -> dict[str, np.ndarray]:
    """Published fields of the neurons: places in the mask, and the groups that a classifier would assign."""
    count = len(neurons)
    groups = np.array([rng.choice(CELL_TYPES[kind].groups) for kind in neurons.cell_type])
    certain = np.where(rng.random(count) < 0.96, rng.uniform(0.28, 0.95, count), rng.uniform(0.12, 0.24, count))
    confidences = rng.dirichlet(np.full(N_GROUPS - 1, 5.0), count) * (1 - certain)[:, None]
    others = np.arange(N_GROUPS - 1) + (np.arange(N_GROUPS - 1) >= groups[:, None] - 1)
    all_confidences = np.empty((count, N_GROUPS))
    np.put_along_axis(all_confidences, others, confidences, axis=1)
    np.put_along_axis(all_confidences, groups[:, None] - 1, certain[:, None], axis=1)
    return {
        "group_assignment": groups.astype(np.int32),
        "group_confidences": all_confidences.astype(np.float32),
        "roi_ids": np.arange(1, count + 1, dtype=np.int32),
        "roi_mask": roi_mask,
    }


def _truth(neurons: Neurons, scaling: Scaling, reliability: np.ndarray, rates: np.ndarray) -> dict[str, np.ndarray]:
    """Responses without noise, and parameters of the neurons."""
    shown = rates.reshape(-1, CLIP_FRAMES, rates.shape[1])
    test = shown[_TEST_PRESENTATIONS].reshape(3, -1, rates.shape[1])
    train = np.delete(shown, _TEST_PRESENTATIONS, axis=0).reshape(-1, rates.shape[1])
    return {
        **vars(neurons),
        **vars(scaling),
        "cell_type": np.array([CELL_TYPES[kind].name.encode() for kind in neurons.cell_type]),
        "train": train,
        "test": test.mean(axis=0),
        "mean_response": train.mean(axis=0),
        "repeat_correlation": reliability,
    }


def _write_group(
    file: h5py.File, name: str, fields: Mapping[str, np.ndarray], attributes: Mapping[str, str | int]
) -> None:
    """Write a group of arrays and attributes."""
    group = file.create_group(name)
    for field in sorted(fields):
        group.create_dataset(field, data=fields[field])
    group.attrs.update(attributes)


def _zip_one(source: Path, target: Path) -> None:
    """Write a zip of one file, without its date, so that equal content gives equal archives."""
    with zipfile.ZipFile(target, "w") as archive, source.open("rb") as content:
        member = zipfile.ZipInfo(source.name)
        with archive.open(member, "w", force_zip64=True) as stored:
            shutil.copyfileobj(content, stored, 1 << 20)
