"""Recordings of your own, in a folder of a simple layout (openretina's generic one).

    FOLDER/stimuli/<stimulus>.npy      (channel, time, height, width), shown in several sessions
    FOLDER/<session>.h5 or .hdf5
        responses_<stimulus>           (neuron, time); of a test also (trial, neuron, time)
        stimulus_<stimulus>            (channel, time, height, width), shown in this session alone
        behaviour_<stimulus>           (behaviour, time); of a test with trials (trial, behaviour, time) (optional)
        session_info/<column>          an entry per neuron, or a single number or word (optional)

Stimuli that are named as tests are test movies; all others, in alphabetical order, make up the training movie, which
begins anew with each of them.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from openretina_jax.data.assembly import MOVIE, MovieRecording, RepeatedMovie, arranged, assemble
from openretina_jax.data.dataset import Dataset
from openretina_jax.errors import UserError, nearest
from openretina_jax.runtime.files import read_npy
from openretina_jax.sources import PROBLEMS, SOURCES
from openretina_jax.sources.folders import FetchedFolder, Source, fetch_folder
from openretina_jax.sources.session_file import SUFFIXES, SessionFile, check_same_neurons, open_session

STIMULI_FOLDER = "stimuli"
RESPONSES, STIMULUS, BEHAVIOUR, INFORMATION = "responses_", "stimulus_", "behaviour_", "session_info"
AXES = "channel time height width"

_log = logging.getLogger(__name__)


@SOURCES("hdf5")
def load_hdf5(
    path: Source | None = None,
    *,
    test_names: Sequence[str] = (),
    stimulus_size: tuple[int, int, int] | None = None,
    norm_mean: float | None = None,
    norm_std: float | None = None,
    frame_rate_hz: float = 30.0,
    pixel_size_um: float | None = None,
    clip_length: int = 75,
    validation_clips: int | Sequence[int] = 20,
) -> Dataset:
    """Load sessions in the layout above.

    Args:
        path: the folder, or an archive of it, here, at an address or on the Hub; it must be given.
        test_names: stimuli that are tests.
        stimulus_size: ``(channel, height, width)`` that every stimulus must have (None: that of the first one).
        norm_mean, norm_std: models see pixels minus ``norm_mean``, divided by ``norm_std`` (both None: mean and
            standard deviation of each training movie).
        frame_rate_hz: frames, and responses, per second.
        pixel_size_um: side of a pixel on the retina (None: not known).
        clip_length: frames of a clip.
        validation_clips: number of clips kept for validation, drawn for each movie, or the clips themselves.

    Returns:
        Sessions by the names of their files. Responses that are not finite are NaN.

    Raises:
        UserError: there is no path, or a problem in the folder: the first, and how many others there are.
    """
    folder = _fetched(path)
    found = list(_problems(folder.path, test_names, stimulus_size))
    if found:
        more = f" (and {len(found) - 1} more problems, which openretina-jax check lists)" if len(found) > 1 else ""
        raise UserError(f"{found[0]}{more}") from found[0]
    given = norm_mean is not None or norm_std is not None
    statistics = (0.0 if norm_mean is None else norm_mean, 1.0 if norm_std is None else norm_std)
    return assemble(
        _recordings(folder.path, set(test_names)),
        clip_length=clip_length,
        validation=validation_clips if isinstance(validation_clips, int) else tuple(validation_clips),
        normalization=statistics if given else None,
        frame_rate_hz=frame_rate_hz,
        pixel_size_um=pixel_size_um,
        source={"publication": "hdf5", "files": folder.record, "test_names": list(test_names)},
    )


@PROBLEMS("hdf5")
def problems(
    path: Source | None = None,
    test_names: Sequence[str] = (),
    stimulus_size: tuple[int, int, int] | None = None,
) -> list[str]:
    """List all that keeps ``load_hdf5`` from reading a folder, a line each; no large array is read.

    Raises:
        UserError: the folder cannot be fetched.
    """
    return [str(problem) for problem in _problems(_fetched(path).path, test_names, stimulus_size)]


def _fetched(path: Source | None) -> FetchedFolder:
    if path is None:
        raise UserError(
            "config.data.path is not given; set it to the folder of your recordings, such as "
            "--config.data.path=my_data, or append :simulated to the config"
        )
    return fetch_folder(path)


def _session_files(folder: Path) -> list[Path]:
    return _visible(folder, SUFFIXES)


def _stimulus_files(folder: Path) -> list[Path]:
    return _visible(folder / STIMULI_FOLDER, (".npy",))


def _visible(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Files with one of the endings, in capitals too; hidden ones, which Macs add, are left out."""
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(file for file in files if file.suffix.lower() in suffixes and not file.name.startswith("."))


def _shared_stimulus(file: Path) -> np.ndarray:
    """A stimulus, which stays on the disk."""
    return read_npy(file, AXES, remedy="save the array again with numpy.save")


def _problems(folder: Path, test_names: Sequence[str], size: tuple[int, int, int] | None) -> Iterator[UserError]:
    """Every problem of the folder, of its stimuli, and of its sessions."""
    files = _session_files(folder)
    if not files:
        yield UserError(f"{folder}: holds no files ending in {' or '.join(SUFFIXES)}; give one for each session")
    stimuli: dict[str, tuple[int, ...] | None] = {}  # None: it is not to be read
    for file in _stimulus_files(folder):
        stimuli[file.stem] = None
        try:
            shown = _shared_stimulus(file)
            _check_size(f"{STIMULI_FOLDER}/{file.name}", shown.shape, size)
        except UserError as error:
            yield error
            continue
        stimuli[file.stem] = shown.shape
        size = size or (shown.shape[0], *shown.shape[2:])
    answered: set[str] = set()
    for file in files:
        try:
            with open_session(file) as session:
                yield from _problems_of_session(session, stimuli, set(test_names), size)
                answered.update(_answered(session))
        except UserError as error:
            yield error
    for name in test_names:
        if files and name not in answered:
            hint = nearest(name, sorted(answered))
            yield UserError(f'config.data.test_names has "{name}", but no session has {RESPONSES}{name}; {hint}')


def _problems_of_session(
    session: SessionFile,
    shared: Mapping[str, tuple[int, ...] | None],
    tests: set[str],
    size: tuple[int, int, int] | None,
) -> Iterator[UserError]:
    names = _answered(session)
    if not set(names) - tests:
        found = ", ".join(session.names()) or "nothing"
        yield session.error(f"has no responses to a training stimulus ({RESPONSES}<stimulus>), but {found}")
    counts: dict[str, int] = {}
    with_behaviour = any(name.startswith(BEHAVIOUR) for name in session.names())
    for name in names:
        try:
            if with_behaviour:
                _check_behaviour(session, name, name in tests)
            axes = _axes_of_responses(session, name, name in tests)
            *_, counts[RESPONSES + name], frames = session.dataset(RESPONSES + name, axes).shape
            shown = _shape_of_stimulus(session, name, shared, size)
            if shown is not None:
                _check_length(session, name, frames, shown)
        except UserError as error:
            yield error
    try:
        check_same_neurons(session, counts)
    except UserError as error:
        yield error


def _answered(session: SessionFile) -> list[str]:
    """Names of the stimuli that the file has responses to."""
    return [name.removeprefix(RESPONSES) for name in session.names() if name.startswith(RESPONSES)]


def _axes_of_responses(session: SessionFile, name: str, is_test: bool) -> str:
    by_trial = is_test and getattr(session.find(RESPONSES + name), "ndim", 0) == 3
    return "trial neuron time" if by_trial else "neuron time"


def _check_behaviour(session: SessionFile, name: str, is_test: bool) -> None:
    """Check that there is behaviour in every frame, and trial, that there are responses to."""
    *trials, _, frames = session.dataset(RESPONSES + name, axes := _axes_of_responses(session, name, is_test)).shape
    shape = session.dataset(BEHAVIOUR + name, axes.replace("neuron", "channel")).shape
    if (*shape[:-2], shape[-1]) != (*trials, frames):
        raise session.error(
            f'"{BEHAVIOUR}{name}" has shape {shape}, but must have the trials and frames of "{RESPONSES}{name}", '
            f"{(*trials, frames)}: its axes are ({axes.replace('neuron', 'behaviour').replace(' ', ', ')})"
        )


def _shape_of_stimulus(
    session: SessionFile,
    name: str,
    shared: Mapping[str, tuple[int, ...] | None],
    size: tuple[int, int, int] | None,
) -> tuple[int, ...] | None:
    """Shape of a session's stimulus; None if it is a shared one that has a problem of its own."""
    own = STIMULUS + name
    if own in session:
        stimulus = session.dataset(own, AXES)
        _check_size(f"{session.path.name}/{own}", stimulus.shape, size)
        return stimulus.shape
    if name not in shared:
        known = ", ".join(sorted(shared)) or "none"
        raise session.error(
            f'has responses to "{name}", but neither {own} nor {STIMULI_FOLDER}/{name}.npy exists; stimuli are {known}'
        )
    return shared[name]


def _check_size(what: str, shape: tuple[int, ...], size: tuple[int, int, int] | None) -> None:
    found = (shape[0], *shape[2:])
    if size is not None and found != tuple(size):
        raise UserError(
            f"{what}: has (channel, height, width) {found}, but {tuple(size)} is expected (config.data.stimulus_size, "
            f"or the first stimulus); its axes must be ({AXES.replace(' ', ', ')})"
        )


def _check_length(session: SessionFile, name: str, frames: int, shape: tuple[int, ...]) -> None:
    if shape[1] == frames:
        return
    if shape[1] in getattr(session.find(RESPONSES + name), "shape", ()):
        hint = "are the axes of the responses swapped? They are (neuron, time)"
    elif frames in shape:
        hint = f"are the axes of the stimulus swapped? They are ({AXES.replace(' ', ', ')})"
    else:
        hint = "cut the longer one"
    raise session.error(f'"{RESPONSES}{name}" has {frames} frames, the stimulus "{name}" has {shape[1]}; {hint}')


def _recordings(folder: Path, tests: set[str]) -> Iterator[MovieRecording]:
    shared = {file.stem: file for file in _stimulus_files(folder)}
    joined: dict[tuple[str, ...], np.ndarray] = {}  # training movies of shared stimuli

    def movie(session: SessionFile, names: tuple[str, ...]) -> Num[np.ndarray, "time height width channel"]:
        """Stimuli joined in time."""
        own = any(STIMULUS + name in session for name in names)
        if not own and names in joined:
            return joined[names]
        parts = [
            session.movie(STIMULUS + name, AXES)
            if STIMULUS + name in session
            else arranged(_shared_stimulus(shared[name]), AXES, MOVIE, name)
            for name in names
        ]
        if own:
            return _one_after_another(parts)
        joined[names] = _one_after_another(parts)
        return joined[names]

    for file in _session_files(folder):
        with open_session(file) as session:
            names = _answered(session)
            training = tuple(name for name in names if name not in tests)
            responses = [session.responses(RESPONSES + name, signed=True) for name in training]
            columns, facts = _information(session, responses[0].shape[1])
            yield MovieRecording(
                name=file.stem,
                movie=movie(session, training),
                responses=np.concatenate(responses),
                behaviour=_behaviour(session, training),
                tests={
                    name: RepeatedMovie(
                        movie(session, (name,)), _trials(session, RESPONSES, name), _behaviour_of_trials(session, name)
                    )
                    for name in names
                    if name in tests
                },
                neurons=columns,
                metadata=facts,
                begins=np.cumsum([len(part) for part in responses])[:-1].tolist(),
            )


def _one_after_another(parts: list[np.ndarray]) -> np.ndarray:
    """Parts of a movie joined in time; a single one is not copied."""
    if len(parts) == 1:
        return parts[0]
    together = np.result_type(*parts)
    return np.concatenate(parts, dtype=together if together in (np.uint8, np.float16, np.float32) else np.float32)


def _trials(session: SessionFile, what: str, name: str) -> np.ndarray:
    """Responses to a test ``(trial, time, neuron)``, or behaviour in it; a mean over trials becomes a single one."""
    axes = _axes_of_responses(session, name, is_test=True)
    values = session.responses(what + name, axes, wanted=axes.replace("neuron time", "time neuron"), signed=True)
    return values if values.ndim == 3 else values[None]


def _behaviour(session: SessionFile, training: tuple[str, ...]) -> np.ndarray | None:
    """Behaviour ``(time, channel)`` during the training movie, if the file has any."""
    if BEHAVIOUR + training[0] not in session:
        return None
    return np.concatenate([session.responses(BEHAVIOUR + name, signed=True) for name in training])


def _behaviour_of_trials(session: SessionFile, test: str) -> np.ndarray | None:
    return _trials(session, BEHAVIOUR, test) if BEHAVIOUR + test in session else None


def _information(session: SessionFile, n_neurons: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Columns with an entry per neuron, and single values."""
    columns, facts = {}, {}
    for name in session.names(INFORMATION):
        values = session.values(f"{INFORMATION}/{name}")
        if values.dtype.kind in "OS":
            values = _words(session, f"{INFORMATION}/{name}", values)
        if values.ndim and len(values) == n_neurons:
            columns[name] = values
        elif values.size == 1:
            facts[name] = values.item()
        else:
            _log.warning(
                "%s: %s/%s has shape %s, which is neither one value nor one for each of %d neurons; it is not kept",
                session.path,
                INFORMATION,
                name,
                values.shape,
                n_neurons,
            )
    return columns, facts


def _words(session: SessionFile, key: str, values: np.ndarray) -> np.ndarray:
    try:
        return np.vectorize(lambda word: word.decode() if isinstance(word, bytes) else str(word), otypes=[str])(values)
    except UnicodeDecodeError as error:
        raise session.error(f'"{key}" holds words that are not UTF-8 ({error}); write them again as UTF-8') from error
