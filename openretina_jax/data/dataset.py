"""Stimuli, sessions and data sets: what a model is trained on."""

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, Int32

from openretina_jax.data import roi_masks
from openretina_jax.data.behaviour import behaviour_statistics, check_behaviour
from openretina_jax.data.info import DataInfo, frame_text, in_sessions
from openretina_jax.data.masked import mean_of
from openretina_jax.data.stimulus import Stimulus
from openretina_jax.errors import UserError
from openretina_jax.runtime.described import Described, counted, listed

_SPLITS = {"train", "validation"}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Session(Described):
    """Simultaneously recorded neurons: their responses, in the order in which the stimulus was shown.

    Attributes:
        name: unique among the sessions of a data set.
        stimulus: name of the stimulus that ``frame_index`` points into.
        responses: training and validation responses at the frame rate; NaN where nothing was recorded.
        frame_index: frame of the stimulus shown at each time: the order of clips, and which of them were repeated.
        repeats: responses to each test stimulus, trial by trial, by the name of the test.
        mirrored: whether the animal saw the frames mirrored left to right (left eyes).
        neurons: metadata of the neurons by column name; the first axis of every array is the neuron.
        metadata: further facts (eye, date, ...) as plain values.
        condition: numbers that describe the session (light level, age, ...) for a core that takes them, or None.
        test_stimuli: stimulus of a test by the name of the test, where the two names differ.
        roi_mask: ``neurons["roi_id"]`` of the region of interest (ROI) at every pixel of the imaging field, 0 outside
            of all (None: not known).
        behaviour: behaviour at the time of every response (eye position, pupil, ...); NaN where it is not known (None:
            there is none). It differs between the trials of a test, which are then predicted one by one.
        test_behaviour: behaviour in every trial of each test, by the name of the test.

    Raises:
        UserError: the arrays of the session do not fit each other.
    """

    name: str
    stimulus: str
    responses: Float32[np.ndarray, "time neuron"]
    frame_index: Int32[np.ndarray, " time"]
    repeats: Mapping[str, Float32[np.ndarray, "trial test_time neuron"]]
    mirrored: bool = False
    neurons: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    metadata: Mapping[str, str | int | float | bool] = dataclasses.field(default_factory=dict)
    condition: tuple[float, ...] | None = None
    test_stimuli: Mapping[str, str] = dataclasses.field(default_factory=dict)
    roi_mask: Int32[np.ndarray, "row column"] | None = None
    behaviour: Float32[np.ndarray, "behaviour_time channel"] | None = None
    test_behaviour: Mapping[str, Float32[np.ndarray, "behaviour_trial behaviour_test_time test_channel"]] = (
        dataclasses.field(default_factory=dict)
    )

    def __post_init__(self) -> None:
        time, count = self.responses.shape
        if count == 0:
            raise UserError(f"{self.name}: has no neurons")
        if len(self.frame_index) != time:
            raise UserError(
                f"{self.name}: responses have {time} frames, but {len(self.frame_index)} were shown to the neurons"
            )
        for test, repeats in self.repeats.items():
            if repeats.shape[2] != count:
                raise UserError(
                    f'{self.name}: responses to "{test}" have {repeats.shape[2]} neurons, the others {count}'
                )
        unknown = sorted(self.test_stimuli.keys() - self.repeats.keys())
        if unknown:
            raise UserError(f"{self.name}: has stimuli for the tests {unknown}, but no responses to them")
        for column, values in self.neurons.items():
            if len(values) != count:
                raise UserError(f'{self.name}: "{column}" has {len(values)} entries for {count} neurons')
        check_behaviour(self.name, self.behaviour, self.test_behaviour, self.responses, self.repeats)

    def test_stimulus(self, test: str) -> str:
        """Name of the stimulus shown in a test."""
        return self.test_stimuli.get(test, test)

    @functools.cached_property
    def sees_frames_once(self) -> bool:
        """Whether no frame of the stimulus was shown twice."""
        return len(np.unique(self.frame_index)) == len(self.frame_index)

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return self.responses.shape[1]

    def _facts(self) -> dict[str, str]:
        shown = counted(len(self.responses), "frame") + f' of "{self.stimulus}"' + ", mirrored" * self.mirrored
        tests = [f"{name} ({_repeated(len(trials))})" for name, trials in self.repeats.items()]
        behaviour = {} if self.behaviour is None else {"behaviour": counted(self.behaviour.shape[1], "channel")}
        facts = {"name": self.name, "neurons": f"{self.n_neurons:,}", "stimulus": shown, "tests": listed(tests)}
        return facts | behaviour


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Dataset(Described):
    """Sessions, their stimuli, and the split into training, validation and test data.

    Training movies are cut into clips of equal length; the last one may be shorter. Every ``clip_length`` successive
    entries of a session's ``frame_index`` show one clip from beginning to end.

    Attributes:
        stimuli: movies by name, all with frames of one shape; the names of test movies are those that
            ``Session.test_stimulus`` returns.
        sessions: sorted by stimulus, and then by whether they saw it mirrored; mirrored ones come last.
        clip_length: frames of a clip; 1 if the stimuli are single images.
        validation_clips: indices of the clips kept for validation, by the name of the training stimulus.
        pixel_size_um: side of a stimulus pixel on the retina (None: not known).
        source: where the data came from, as plain values.
        channels: names of the channels of all stimuli, such as green and UV (None: not known).
        response_unit: unit of the responses, such as "spikes/s" (None: not known).
        begins: frames at which a training movie begins anew, by its name: after a pause, frozen repeats, or another
            movie that it was joined with. No window of the training crosses them.

    Raises:
        UserError: stimuli, sessions and split do not fit each other.
    """

    stimuli: Mapping[str, Stimulus]
    sessions: tuple[Session, ...]
    clip_length: int
    validation_clips: Mapping[str, tuple[int, ...]]
    pixel_size_um: float | None = None
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    channels: tuple[str, ...] | None = None
    response_unit: str | None = None
    begins: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.sessions:
            raise UserError("the data set has no sessions; did none pass the quality checks?")
        names = [session.name for session in self.sessions]
        duplicates = sorted(name for name, count in Counter(names).items() if count > 1)
        if duplicates:
            raise UserError(f"session names must be unique, but these come twice: {', '.join(duplicates)}")
        for name in _SPLITS.intersection(self.test_names):
            raise UserError(f'a test is called "{name}", which is the name of a split; call it otherwise')
        shapes = {name: stimulus.frames.shape[1:] for name, stimulus in self.stimuli.items()}
        if len(set(shapes.values())) > 1:
            raise UserError(f"all stimuli need frames of one (height, width, channel), but they have {shapes}")
        if self.channels is not None and {len(self.channels)} != {shape[2] for shape in shapes.values()}:
            raise UserError(f"channels are named {', '.join(self.channels)}, but frames have the shapes {shapes}")
        ordered = sorted(self.sessions, key=lambda session: (session.stimulus, session.mirrored))
        object.__setattr__(self, "sessions", tuple(ordered))
        for session in self.sessions:
            self._check_session(session)
        sizes = {session.name: len(session.condition or ()) for session in self.sessions}
        if len(set(sizes.values())) > 1:
            raise UserError(f"all sessions need conditions of the same size, but they have {sizes}")
        channels = {one.name: 0 if one.behaviour is None else one.behaviour.shape[1] for one in self.sessions}
        if len(set(channels.values())) > 1:
            raise UserError(f"all sessions need as many channels of behaviour, but they have {channels}")

    def _check_session(self, session: Session) -> None:
        for name in (session.stimulus, *map(session.test_stimulus, session.repeats)):
            if name not in self.stimuli:
                raise UserError(
                    f'{session.name}: has no stimulus "{name}"; the data set has {", ".join(sorted(self.stimuli))}'
                )
        frames = len(self.stimuli[session.stimulus].frames)
        first, last = int(session.frame_index.min()), int(session.frame_index.max())
        if first < 0 or last >= frames:
            raise UserError(
                f'{session.name}: was shown frames {first} to {last}, but stimulus "{session.stimulus}" '
                f"has frames 0 to {frames - 1}"
            )
        clips, place = np.divmod(session.frame_index, self.clip_length)
        starts = clips[:: self.clip_length]
        time = np.arange(len(place))
        if (place != time % self.clip_length).any() or (clips != starts[time // self.clip_length]).any():
            raise UserError(f"{session.name}: was not shown whole clips of {self.clip_length} frames")
        if len(time) % self.clip_length and last != frames - 1:
            raise UserError(
                f"{session.name}: its last clip has {len(time) % self.clip_length} of {self.clip_length} frames, but "
                "only the last clip of a stimulus may be shorter"
            )
        for test, repeats in session.repeats.items():
            name = session.test_stimulus(test)
            shown = len(self.stimuli[name].frames)
            if repeats.shape[1] != shown:
                raise UserError(
                    f'{session.name}: responses to "{test}" have {repeats.shape[1]} frames, stimulus "{name}" has '
                    f"{shown}; the responses belong to another stimulus or were cut"
                )
        unknown = sorted(set(self.kept_for_validation(session)) - set(starts.tolist()))
        if unknown:
            raise UserError(
                f"{session.name}: validation clips {unknown} were never shown; choose among the clips shown"
            )
        short = frames // self.clip_length  # index of the clip that is not whole, if there is one
        if short in self.kept_for_validation(session):
            raise UserError(
                f"{session.name}: validation clip {short} has {frames % self.clip_length} of {self.clip_length} "
                "frames; choose whole clips"
            )

    def parts(self, session: Session) -> Int[np.ndarray, " time"]:
        """Number of the part of its movie that a session saw at every time; parts were not shown one after another."""
        return np.searchsorted(np.asarray(self.begins.get(session.stimulus, ()), int), session.frame_index, "right")

    @property
    def interrupted(self) -> bool:
        """Whether a movie has parts that were not shown one after another."""
        return any(self.begins.values())

    def kept_for_validation(self, session: Session) -> tuple[int, ...]:
        """Indices of the clips of the session's stimulus that are kept for validation."""
        return self.validation_clips.get(session.stimulus, ())

    @property
    def n_neurons(self) -> int:
        """Number of neurons of all sessions."""
        return sum(session.n_neurons for session in self.sessions)

    def _facts(self) -> dict[str, str]:
        movie = self.stimuli[self.sessions[0].stimulus]
        movies = {session.stimulus: len(self.stimuli[session.stimulus].frames) for session in self.sessions}
        frames, kept = sum(movies.values()), sum(len(self.validation_clips.get(name, ())) for name in movies)
        clips = sum(-(-length // self.clip_length) for length in movies.values())
        return {
            "neurons": in_sessions(self.n_neurons, len(self.sessions)),
            "frames": frame_text(movie.frames.shape[1:], movie.frame_rate_hz, self.channels),
            "training": f"{counted(frames, 'frame')} of {listed(sorted(movies))}",
            "validation": f"{kept} of {counted(clips, 'clip')}",
            "tests": listed([f"{name} ({self._shown(name)})" for name in self.test_names]),
        }

    def _shown(self, test: str) -> str:
        """Length and number of repeats of a test, in words."""
        trials = [session.repeats[test].shape[:2] for session in self.sessions if test in session.repeats]
        most, frames = np.max(trials, axis=0)
        return f"{counted(int(frames), 'frame')}, {_repeated(int(most))}"

    @property
    def test_names(self) -> tuple[str, ...]:
        """Names of the test stimuli, sorted."""
        return tuple(sorted({name for session in self.sessions for name in session.repeats}))

    @property
    def has_negative(self) -> bool:
        """Whether any response is negative, as rates and counts never are."""
        return any(bool((one < 0).any()) for s in self.sessions for one in (s.responses, *s.repeats.values()))

    @property
    def info(self) -> DataInfo:
        """Facts about the data that a model keeps."""
        shown = [self.stimuli[session.stimulus] for session in self.sessions]
        movies = {movie.name: movie for movie in shown}.values()
        pixels = [movie.pixel_statistics for movie in movies]
        power = np.average([one.frame_power for one in pixels], weights=[len(movie.frames) for movie in movies])
        return DataInfo(
            sessions={session.name: session.n_neurons for session in self.sessions},
            mean_activity={
                session.name: np.nan_to_num(mean_of(session.responses)).tolist() for session in self.sessions
            },
            input_shape=shown[0].frames.shape[1:],
            frame_rate_hz=shown[0].frame_rate_hz,
            pixel_size_um=self.pixel_size_um,
            norm_mean=_common([stimulus.norm_mean for stimulus in shown]),
            norm_std=_common([stimulus.norm_std for stimulus in shown]),
            neurons={
                session.name: {column: values.tolist() for column, values in session.neurons.items()}
                for session in self.sessions
            },
            source=self.source,
            conditions={
                session.name: list(session.condition) for session in self.sessions if session.condition is not None
            },
            pixel_low=np.min([one.low for one in pixels], axis=0).tolist(),
            pixel_high=np.max([one.high for one in pixels], axis=0).tolist(),
            frame_norm=math.sqrt(power),
            channels=None if self.channels is None else list(self.channels),
            packed_roi_masks={
                session.name: roi_masks.pack(session.roi_mask)
                for session in self.sessions
                if session.roi_mask is not None
            },
            response_unit=self.response_unit,
            single_images=self.clip_length == 1,
            behaviour={
                session.name: behaviour_statistics(session.behaviour)
                for session in self.sessions
                if session.behaviour is not None
            },
        )


def _repeated(trials: int) -> str:
    return "shown once" if trials == 1 else f"{trials} repeats"


def _common(statistics: list[float | None]) -> float | None:
    """Statistic of the first movie, if those of all others are within one grey level of it; else None."""
    known = [statistic for statistic in statistics if statistic is not None]
    return known[0] if len(known) == len(statistics) and np.allclose(known, known[0], rtol=0, atol=1) else None
