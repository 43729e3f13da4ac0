"""Score of a trained model against the retina that its recordings were simulated with."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from openretina_jax.errors import UserError, nearest
from openretina_jax.experiment.command_line import console
from openretina_jax.experiment.data import simulated_folder
from openretina_jax.experiment.evaluate import data_settings
from openretina_jax.experiment.insilico import EXPERIMENTS
from openretina_jax.experiment.insilico.experiment import Work
from openretina_jax.experiment.insilico.stimuli import ConstrainedStimuli
from openretina_jax.insilico import against_truth, controls, score
from openretina_jax.insilico.against_truth import HISTORY, RULES, Questions
from openretina_jax.insilico.ascent import Ascent
from openretina_jax.insilico.experiments import natural_windows
from openretina_jax.insilico.presentation import Screen
from openretina_jax.insilico.score import Metric
from openretina_jax.insilico.targets import rows_of
from openretina_jax.insilico.truth import truth_model
from openretina_jax.models.model import Model
from openretina_jax.runtime.fetch import cache_folder
from openretina_jax.visualize.gallery.truth import truth_page

METRICS = "metrics.csv"


@EXPERIMENTS("score")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Score(ConstrainedStimuli):
    """Asks the model and the true neurons the same questions, and scores the answers; broken models are asked, too.

    Attributes:
        neurons: those that get most exciting stimuli, on the model and on the truth; all else is asked of all.
        truth: folder or file of the truth (None: beside the simulated recordings of the run).
        windows: natural windows at which gradients are compared.
        frames: frames of noise for spike-triggered averages.
        thresholds: worst values that pass, instead of those of ``RULES``, as in "closed_loop=0.7,colour=none"; none
            leaves a metric out.
        pixel_size_um: side of a pixel on the retina (None: as the model knows it).
        imaging_hz: rate at which the recording was imaged, if true gradients are to be blurred as it is.
    """

    neurons: str = "every:8"
    seeds: int = 4
    truth: str | None = None
    windows: int = 8
    frames: int = 10_000
    thresholds: str = ""
    pixel_size_um: float | None = None
    imaging_hz: float | None = None

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Ask, and write the tables and the page."""
        thresholds = _thresholds(self.thresholds)
        samples = None if self.imaging_hz is None else self._samples_per_frame(self.imaging_hz, model)
        path = Path(self.truth) if self.truth is not None else _folder_of_truth(work)
        truth = truth_model(path, model.data_info)
        questions = Questions(
            windows=natural_windows(work.dataset, model.lag + 1 + HISTORY, self.windows, seed=1),
            natural=natural_windows(work.dataset, self.frames_of_stimuli(model)),
            chosen=rows_of(model, self.neurons),
            constraint=self.constraint(model),
            seeds=self.seeds,
            window=self.window,
            ascent=Ascent(steps=self.steps),
            sta_frames=self.frames,
            screen=Screen.of(model, pixel_size_um=self.pixel_size_um),
        )
        asked = {
            "trained": model,
            "untrained core": controls.untrained_core(model),
            "shuffled rows": controls.shuffled_rows(model),
        }
        done = 0

        def tell() -> None:
            nonlocal done
            work.progress("models that were asked", done, len(asked) + 1)
            done += 1

        tell()
        true = against_truth.answers(truth, truth, model.lag, questions)
        if samples is not None:
            true = against_truth.as_imaged(true, samples, model.data_info.frame_rate_hz)
        metrics: dict[str, list[Metric]] = {}
        for name, one in asked.items():
            tell()
            columns = against_truth.neuron_columns(one, truth, true, questions)
            metrics[name] = against_truth.metrics(columns, thresholds)
            if one is model:
                work.write_table(against_truth.neuron_table(model, columns))
        tell()
        found = metrics.pop("trained")
        table = score.table(found, metrics)
        work.write_table(table, METRICS)
        work.write_page(truth_page(table, list(metrics)))
        _print(found, metrics)
        return score.failures(found, metrics)

    @staticmethod
    def _samples_per_frame(imaging_hz: float, model: Model) -> float:
        rate = model.data_info.frame_rate_hz
        if rate is None or not 0 < imaging_hz < rate:
            raise UserError(f"imaging_hz is {imaging_hz}; it must be above 0 and below the movie's {rate} Hz")
        return imaging_hz / rate


def _print(found: Sequence[Metric], broken: Mapping[str, Sequence[Metric]]) -> None:
    """A line for every metric."""
    others = {name: {one.name: one.value for one in metrics} for name, metrics in broken.items()}
    for one in found:
        bound = "at least" if one.better == "higher" else "at most"
        controls = ", ".join(f"{name} {values[one.name]:.3f}" for name, values in others.items() if one.name in values)
        console.print(
            f"{one.name:20} {one.value:7.3f} ({one.low:.3f} to {one.high:.3f}); {bound} {one.threshold:g} passes; "
            f"{controls}",
            soft_wrap=True,
        )


def _thresholds(text: str) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in RULES:
            raise UserError(f'thresholds: there is no metric "{name}"; {nearest(name, list(RULES))}')
        try:
            found[name] = None if value == "none" else float(value)
        except ValueError:
            raise UserError(
                f'thresholds: "{part}" must be a name and a number or none, as in closed_loop=0.7'
            ) from None
    return found


def _folder_of_truth(work: Work) -> Path:
    try:
        return simulated_folder(data_settings(work.checkpoint, None), cache_folder() / "simulated", work.progress)
    except UserError as error:
        raise UserError(f"{error}; --truth=FOLDER says where") from None
