"""Experiments that differentiate the model: gradients, contrast grids and vector fields."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32

from openretina_jax.data.info import DataInfo
from openretina_jax.errors import UserError
from openretina_jax.experiment.insilico import EXPERIMENTS
from openretina_jax.experiment.insilico.experiment import Experiment, Work, load_stimuli
from openretina_jax.insilico.experiments import natural_windows
from openretina_jax.insilico.gradients import Lsta, contrast_grid, gradients, lsta
from openretina_jax.insilico.optimize import stimulus_frames
from openretina_jax.insilico.receptive_fields import described
from openretina_jax.insilico.targets import neuron_names, rows_of
from openretina_jax.insilico.vector_field import VectorField, vector_field
from openretina_jax.models.model import Model
from openretina_jax.visualize.gallery.neurons import fields_page
from openretina_jax.visualize.gallery.planes import contrast_page, vector_page

NATURAL = "natural"
_MOST_BYTES = 8e9  # of gradients


@EXPERIMENTS("gradients")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Gradients(Experiment):
    """Computes the gradient of every neuron's response at natural windows, or at its own stimulus.

    Attributes:
        stimuli: "natural": windows of the training movies, the same for all neurons; or the folder of an experiment
            such as mei, whose neurons are then taken.
        count: number of natural windows.
        window: last frames of the response that count.
    """

    stimuli: str = NATURAL
    count: int = 16
    window: int = 1

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Differentiate, and describe the mean gradient of every neuron as a receptive field."""
        if self.count < 1 or self.window < 1:
            raise UserError(f"count is {self.count} and window {self.window}; both must be 1 or more")
        if self.stimuli == NATURAL:
            rows = rows_of(model, self.neurons)
            shown = natural_windows(work.dataset, stimulus_frames(model, self.window), self.count)
            _check_size(len(rows), shown)
            found = gradients(model, shown, rows, self.window)
        else:
            stimuli, rows = load_stimuli(model, self.stimuli)
            shown = stimuli.best
            each = [gradients(model, movie[None], [row], self.window) for movie, row in zip(shown, rows, strict=True)]
            found = np.concatenate(each)
        mean = found.mean(axis=1)
        fields = described(model, mean, rows)
        names = [neuron_names(model)[row] for row in rows]
        work.write_arrays("gradients.h5", {"neuron": names, "stimuli": shown, "gradients": found})
        work.write_table(fields.table().assign(alike=_alike(found)))
        where = f"{len(shown)} natural windows" if self.stimuli == NATURAL else f"the stimulus in {self.stimuli}"
        about = f"Mean gradient of the response at {where}."
        work.write_page(fields_page(fields, "Gradients", about, model.data_info))
        return []


def _check_size(neurons: int, shown: np.ndarray) -> None:
    need = neurons * shown.nbytes
    if need > _MOST_BYTES:
        raise UserError(
            f"the gradients of {neurons} neurons at {len(shown)} windows take {need / 1e9:.0f} GB; choose fewer "
            "neurons, or a smaller --count"
        )


def _alike(found: Float32[np.ndarray, "neuron stimulus *shape"]) -> Float32[np.ndarray, " neuron"]:
    """Mean cosine of a neuron's single gradients with their mean: 1 for a linear neuron."""
    flat = found.reshape(*found.shape[:2], -1)
    mean = flat.mean(axis=1)
    size = np.linalg.norm(flat, axis=2) * np.linalg.norm(mean, axis=1)[:, None]
    product = np.einsum("nsp,np->ns", flat, mean)
    cosine = np.divide(product, size, out=np.zeros_like(product), where=size > 0)
    return cosine.mean(axis=1).astype(np.float32)


@EXPERIMENTS("contrast_grid")
@dataclasses.dataclass(frozen=True, kw_only=True)
class ContrastGrids(Experiment):
    """Scales two channels of every neuron's own stimulus by all pairs of contrasts (Höfling et al. 2024).

    Attributes:
        stimuli: the folder of an experiment such as mei, whose neurons are taken.
        channels: the two channels.
        steps: contrasts from -1 to 1.
        window: last frames of the response that count (None: as for the stimuli).
    """

    stimuli: str
    channels: tuple[int, int] = (0, 1)
    steps: int = 21
    window: int | None = None

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Scale the stimuli, and differentiate by their contrasts."""
        if self.steps < 2:
            raise UserError(f"steps is {self.steps}; it must be 2 or more")
        if self.neurons != "all":
            raise UserError(f'the neurons are those of {self.stimuli}; leave out --neurons="{self.neurons}"')
        stimuli, rows = load_stimuli(model, self.stimuli)
        contrasts = np.linspace(-1, 1, self.steps)
        window = stimuli.config["window"] if self.window is None else self.window
        grid = contrast_grid(model, stimuli.best, rows, contrasts=contrasts, channels=self.channels, window=window)
        work.write_arrays(
            "contrasts.h5",
            {
                "neuron": grid.names,
                "contrasts": grid.contrasts,
                "response": grid.response,
                "gradient": grid.gradient,
            },
        )
        first, second = grid.channels
        work.write_table(
            pd.DataFrame(
                {
                    "neuron": grid.names,
                    "lowest": grid.response.min(axis=(1, 2)),
                    "highest": grid.response.max(axis=(1, 2)),
                    "both": grid.response[:, -1, -1],
                    f"channel_{first}_inverted": grid.response[:, 0, -1],
                    f"channel_{second}_inverted": grid.response[:, -1, 0],
                    "both_inverted": grid.response[:, 0, 0],
                }
            )
        )
        work.write_page(contrast_page(grid))
        return []


@EXPERIMENTS("vector_field")
@dataclasses.dataclass(frozen=True, kw_only=True)
class VectorFields(Experiment):
    """Computes every neuron's gradients at images, and shows them in the plane of their principal components.

    Attributes:
        images: "natural": frames of the training movies; or a folder of PNG or JPEG files.
        count: number of images, at most.
        shown_frames: frames for which an image is shown.
        window: first frame of the response that counts and the one after the last, from the onset of the image on.
        channel: channel of the images and gradients.
        bins: squares along each side of the field.
    """

    images: str = NATURAL
    count: int = 200
    shown_frames: int = 16
    window: tuple[int, int] = (0, 10)
    channel: int = 0
    bins: int = 11

    def conduct(self, model: Model, work: Work) -> Sequence[str]:
        """Differentiate at all images, neuron by neuron."""
        if self.count < 3 or self.bins < 1:
            raise UserError(f"count is {self.count} and bins {self.bins}; at least 3 images and 1 bin are needed")
        rows, names = rows_of(model, self.neurons), neuron_names(model)
        if self.images == NATURAL:
            images = natural_windows(work.dataset, 1, self.count)[:, 0]
        else:
            images = read_images(Path(self.images), model.data_info, self.count)
        if not 0 <= self.channel < images.shape[-1]:
            raise UserError(f"channel is {self.channel}; the images have channels 0 to {images.shape[-1] - 1}")
        kept, fields = work.kept("neurons"), []
        for number, row in enumerate(rows):
            work.progress("gradients of neurons", number, len(rows))
            if str(row) not in kept:
                one = lsta(model, images, [row], shown_frames=self.shown_frames, window=self.window)
                kept[str(row)] = {"gradients": one.gradients, "responses": one.responses}
            fields.append(
                vector_field(Lsta((names[row],), images, **kept[str(row)], window=self.window), 0, self.channel)
            )
        work.progress("gradients of neurons", len(rows), len(rows))
        self._write(work, images, fields, np.concatenate([kept[str(row)]["gradients"] for row in rows]))
        return []

    def _write(self, work: Work, images: np.ndarray, fields: Sequence[VectorField], found: np.ndarray) -> None:
        parts = ("components", "places", "arrows", "responses")
        arrays = {part: np.stack([getattr(field, part) for field in fields]) for part in parts}
        names = [field.name for field in fields]
        work.write_arrays("field.h5", {"neuron": names, "images": images, "gradients": found, **arrays})
        work.write_table(
            pd.DataFrame(
                {
                    "neuron": names,
                    "explained_1": [field.explained[0] for field in fields],
                    "explained_2": [field.explained[1] for field in fields],
                    "alike": _alike(found[..., self.channel]),
                    "mean_response": [field.responses.mean() for field in fields],
                }
            )
        )
        work.write_page(vector_page(fields, self.bins))


def read_images(folder: Path, info: DataInfo, count: int) -> Float32[np.ndarray, "image height width channel"]:
    """Read images, cut them to the middle and scale them to a model's frames, in its units and all channels alike.

    Raises:
        UserError: there are none, one cannot be read, or the model does not know how its movies were normalised.
    """
    from PIL import Image, UnidentifiedImageError

    files = sorted(file for file in folder.glob("*") if file.suffix.lower() in (".png", ".jpg", ".jpeg"))[:count]
    if not files:
        raise UserError(f"{folder} has no PNG or JPEG files")
    if info.norm_mean is None or info.norm_std is None:
        raise UserError("the model does not know how its movies were normalised, so that images have no units")
    height, width, channels = info.input_shape
    found = []
    for file in files:
        try:
            with Image.open(file) as image:
                scale = max(height / image.height, width / image.width)
                size = max(width, round(image.width * scale)), max(height, round(image.height * scale))
                grey = np.asarray(image.convert("L").resize(size, Image.Resampling.BOX), np.float32)
        except (OSError, UnidentifiedImageError) as error:
            raise UserError(f"{file} cannot be read as an image: {str(error).splitlines()[0]}") from None
        top, left = (grey.shape[0] - height) // 2, (grey.shape[1] - width) // 2
        found.append(grey[top : top + height, left : left + width])
    pixels = (np.stack(found) - np.float32(info.norm_mean)) / np.float32(info.norm_std)
    return np.repeat(pixels[..., None], channels, axis=-1)
