"""Simulated spiking retinal ganglion cells, as recorded with multielectrode arrays; they can watch any movie.

A cell is linear-nonlinear Poisson. Its receptive field is the difference of a centre and a surround (Rodieck 1965), its
temporal kernel the difference of two gamma-like lobes, and its firing rate a softplus of the filtered light.
"""

import dataclasses
import json

import numpy as np
from jaxtyping import Float, Float32, Num

_SURROUND_SIZE, _SURROUND_WEIGHT = 2.5, 0.7  # relative to the centre
_KERNEL_S = 0.4
OUTPUT_SLOPE = 2.0
_AT_ONCE = 500  # frames, so that large movies are never in memory as a whole in single precision


@dataclasses.dataclass(frozen=True, eq=False)
class SpikingNeurons:
    """Parameters of the cells of one session.

    Attributes:
        centre_px: receptive-field centre (row, column) in pixels.
        centre_sd_px: standard deviation of the centre, in pixels.
        polarity: 1 for cells that light excites, -1 for cells that dark excites.
        peak_s: time of the temporal kernel's peak.
        biphasic: 0 for a sustained response, 1 for one that returns to 0 under constant light.
        threshold: threshold of the output, in standard deviations of the filtered light.
        mean_rate_hz: mean number of spikes per second while the training movie is shown.
    """

    centre_px: Float[np.ndarray, "neuron 2"]
    centre_sd_px: Float[np.ndarray, " neuron"]
    polarity: Float[np.ndarray, " neuron"]
    peak_s: Float[np.ndarray, " neuron"]
    biphasic: Float[np.ndarray, " neuron"]
    threshold: Float[np.ndarray, " neuron"]
    mean_rate_hz: Float[np.ndarray, " neuron"]

    @classmethod
    def drawn(
        cls,
        rng: np.random.Generator,
        n_neurons: int,
        *,
        height: int,
        width: int,
        centre_sd_px: float,
        mean_rates_hz: tuple[float, float] = (3.0, 12.0),
    ) -> "SpikingNeurons":
        """Draw cells at random places of the screen.

        Args:
            rng: source of the random numbers.
            n_neurons: number of cells.
            height, width: size of the screen in pixels.
            centre_sd_px: typical size of a centre.
            mean_rates_hz: the lowest and the highest mean rate.
        """
        return cls(
            centre_px=rng.uniform(0.2, 0.8, (n_neurons, 2)) * (height - 1, width - 1),
            centre_sd_px=centre_sd_px * rng.uniform(0.8, 1.25, n_neurons),
            polarity=rng.choice([-1.0, 1.0], n_neurons),
            peak_s=rng.uniform(0.05, 0.12, n_neurons),
            biphasic=rng.uniform(0.3, 1.0, n_neurons),
            threshold=rng.uniform(0.0, 1.0, n_neurons),
            mean_rate_hz=rng.uniform(*mean_rates_hz, n_neurons),
        )

    def __len__(self) -> int:
        return len(self.polarity)

    def receptive_fields(self, height: int, width: int) -> Float32[np.ndarray, "height width neuron"]:
        """Compute the weights of the pixels: those of an ON centre add up to 1, its surround to -0.7."""
        rows, columns = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
        distance = np.square(rows - self.centre_px[:, 0]) + np.square(columns - self.centre_px[:, 1])

        def gaussian(deviation: np.ndarray) -> np.ndarray:
            weights = np.exp(-distance / (2 * np.square(deviation)))
            return weights / weights.sum(axis=(0, 1))

        surround = gaussian(_SURROUND_SIZE * self.centre_sd_px)
        return (self.polarity * (gaussian(self.centre_sd_px) - _SURROUND_WEIGHT * surround)).astype(np.float32)

    def temporal_kernels(self, frame_rate_hz: float) -> Float[np.ndarray, "frame neuron"]:
        """Compute the weights of the frames, of norm 1; the first is that of the frame on the screen."""
        time = np.arange(max(round(_KERNEL_S * frame_rate_hz), 1))[:, None] / frame_rate_hz + 0.5 / frame_rate_hz

        def lobe(peak_s: np.ndarray) -> np.ndarray:
            values = (time / peak_s) ** 3 * np.exp(3 * (1 - time / peak_s))
            return values / values.sum(axis=0)

        kernels = lobe(self.peak_s) - self.biphasic * lobe(2 * self.peak_s)
        return kernels / np.linalg.norm(kernels, axis=0)

    def drive(
        self, movie: Num[np.ndarray, "time height width"], frame_rate_hz: float | None
    ) -> Float[np.ndarray, "time neuron"]:
        """Filter a movie by the receptive fields and the temporal kernels.

        Args:
            movie: grey pixels.
            frame_rate_hz: frame rate of the movie (None: single images, which are not filtered in time).
        """
        fields = self.receptive_fields(*movie.shape[1:]).reshape(-1, len(self))
        light = np.concatenate(
            [
                movie[at : at + _AT_ONCE].reshape(-1, len(fields)).astype(np.float32) @ fields
                for at in range(0, len(movie), _AT_ONCE)
            ]
        )
        if frame_rate_hz is None:
            return light
        from scipy.signal import lfilter  # takes a second, and configurations read our options

        kernels = self.temporal_kernels(frame_rate_hz)
        return np.stack([lfilter(kernels[:, n], 1.0, light[:, n]) for n in range(len(self))], axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
    """Numbers by which the first movie sets the units of the cells of one session.

    Attributes:
        drive_mean, drive_scale: mean and standard deviation of the filtered light.
        gain: number of spikes in a frame per unit of the output.
    """

    drive_mean: Float[np.ndarray, " neuron"]
    drive_scale: Float[np.ndarray, " neuron"]
    gain: Float[np.ndarray, " neuron"]


def constants() -> str:
    """Write down all numbers that are the same for all cells, to recognise files of other ones."""
    return json.dumps([_SURROUND_SIZE, _SURROUND_WEIGHT, _KERNEL_S, OUTPUT_SLOPE])


def expected_spikes(
    neurons: SpikingNeurons, movies: dict[str, Num[np.ndarray, "_ height width"]], bin_s: float, *, images: bool = False
) -> tuple[dict[str, Float[np.ndarray, "_ neuron"]], Scaling]:
    """Compute the mean number of spikes in the bin of every frame.

    Args:
        neurons: the cells.
        movies: movies by name; the first sets the scale of the drive and the mean rate of every cell.
        bin_s: duration of a frame in seconds.
        images: whether the frames are single images, each shown for one bin.

    Returns:
        The numbers by name of the movie, and the units that the first movie sets.
    """
    drives = {name: neurons.drive(movie, None if images else 1 / bin_s) for name, movie in movies.items()}
    first = next(iter(drives.values()))
    mean, scale = first.mean(axis=0), np.maximum(first.std(axis=0), 1e-12)

    def output(drive: np.ndarray) -> np.ndarray:
        return np.logaddexp(0, OUTPUT_SLOPE * ((drive - mean) / scale - neurons.threshold))

    gain = neurons.mean_rate_hz * bin_s / output(first).mean(axis=0)
    return {name: gain * output(drive) for name, drive in drives.items()}, Scaling(mean, scale, gain)


def drawn_spikes(
    rng: np.random.Generator,
    training: Float[np.ndarray, "time neuron"],
    test: Float[np.ndarray, "test_time neuron"],
    n_repeats: int,
    noise: int = 1,
) -> tuple[Num[np.ndarray, "time neuron"], Num[np.ndarray, "repeat test_time neuron"]]:
    """Draw the spikes of every frame: once for the training movie, and for every repeat of the test movie.

    Args:
        rng: source of the random numbers.
        training, test: mean numbers of spikes, see ``expected_spikes``.
        n_repeats: presentations of the test movie.
        noise: 1, or 0 to take the mean numbers for every presentation; all later random numbers are the same.
    """
    drawn = rng.poisson(training), rng.poisson(test, (n_repeats, *test.shape))
    return drawn if noise else (training, np.repeat(test[None], n_repeats, axis=0))
