"""The reference's step in plain torch: its layers, loss and optimiser, where torch is installed and openretina is not.

What does not depend on parameters is computed once, and windows lie on the device, as in ``ours``: the time is that of
torch's own operations. Parameters have openretina's names, so that its weights can be loaded
(``tests/parity/torch_layers.py`` compares both). Runs without this package, and imports torch alone.
"""

import contextlib
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CLASSES = ("SimpleCoreWrapper", "MultiGaussianMaskReadout")
SUBSAMPLING = 3  # frames of a kernel for each frequency of time
ONLY = {
    "convolution_type": "custom_separable",
    "dropout_rate": 0.0,
    "downsample_input_kernel_size": None,
    "color_squashing_weights": None,
    "cut_first_n_frames": 0,
    "gamma_input": 0.0,
    "gamma_hidden": 0.0,
    "gamma_in_sparse": 0.0,
}


class UserError(Exception):
    """What is asked for is not done here."""


def prepare(task: Mapping[str, Any]) -> tuple[Callable[[], Any], dict[str, Any]]:
    """Training steps, or predictions, on random windows, as in ``ours``.

    Raises:
        UserError: another measure, core or readout.
    """
    if task["measure"] not in ("forward", "train_step"):
        raise UserError(f"torch alone is measured in forward and train_step, not in {task['measure']}")
    begin(task)
    height, width, channels = task["input_shape"]
    stimulus = torch.randn(task["windows"], channels, task["frames"], height, width, device=DEVICE)
    responses = torch.rand(task["windows"], task["frames"], task["neurons"], device=DEVICE)
    model = Model(task["counterpart"], (channels, task["frames"], height, width), task["neurons"]).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), **task["counterpart"]["optimizer"])

    def predict() -> Any:
        with torch.no_grad(), autocast(task):
            return model(stimulus).cpu()

    def step() -> float:
        return descend(task, optimizer, lambda: poisson_loss(model(stimulus), responses) + model.penalty())

    model.train(task["measure"] == "train_step")
    shape = {"steps": 1, "windows": task["windows"], "frames": task["frames"]}
    return step if model.training else predict, about(shape, {"torch": torch.__version__})


def begin(task: Mapping[str, Any]) -> None:
    """Use the cores of a task, and multiply as exactly as it says, in convolutions too."""
    torch.set_num_threads(task["threads"])
    torch.manual_seed(0)
    precision = task["settings"]["train"]["matmul_precision"]
    torch.set_float32_matmul_precision("medium" if precision == "default" else precision)
    torch.backends.cudnn.allow_tf32 = precision != "highest"


def autocast(task: Mapping[str, Any]) -> contextlib.AbstractContextManager[Any]:
    """Block that computes in the type of a task: Lightning's ``bf16-mixed`` is this."""
    return torch.autocast(DEVICE, torch.bfloat16, enabled=task["settings"]["train"]["compute_dtype"] == "bfloat16")


def descend(task: Mapping[str, Any], optimizer: Any, loss_of: Callable[[], Any]) -> float:
    """Take a step of the optimiser, and return the loss before it."""
    optimizer.zero_grad()
    with autocast(task):
        loss = loss_of()
    loss.backward()
    if limit := task["settings"]["optimizer"]["clip_norm"]:
        torch.nn.utils.clip_grad_norm_([one for group in optimizer.param_groups for one in group["params"]], limit)
    optimizer.step()
    return loss.item()


def about(shape: Mapping[str, int], versions: Mapping[str, str]) -> dict[str, Any]:
    """What to say of a measurement with torch."""
    return {
        "shape": shape,
        "windows": shape["steps"] * shape["windows"],
        "lowering": None,
        "device": torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu",
        "versions": {"python": platform.python_version(), **versions},
    }


def poisson_loss(predicted: Any, responses: Any) -> Any:
    """Negative log-likelihood but for a constant, summed over the frames that are predicted."""
    recorded = responses[:, responses.shape[1] - predicted.shape[1] :]
    return (predicted - recorded * torch.log(predicted + 1e-16)).sum()


class Convolution(torch.nn.Module):
    """A kernel of space times one of time, which is a sum of sines and cosines (Höfling et al. 2024)."""

    def __init__(self, inputs: int, outputs: int, frames: int, pixels: int, padding: Any):
        super().__init__()
        count = frames // SUBSAMPLING
        time = torch.arange(frames) - float(frames)
        angles = 2 * torch.pi / frames * torch.arange(count)[:, None] * time
        fade = torch.sigmoid(time + int(0.95 * frames))
        self.register_buffer("sines", fade * torch.sin(angles), persistent=False)
        self.register_buffer("cosines", fade * torch.cos(angles), persistent=False)
        self.sin_weights = torch.nn.Parameter(0.01 * torch.randn(outputs, inputs, count))
        self.cos_weights = torch.nn.Parameter(0.01 * torch.randn(outputs, inputs, count))
        self.weight_spatial = torch.nn.Parameter(0.01 * torch.randn(outputs, inputs, 1, pixels, pixels))
        self.register_buffer("smoothness", torch.linspace(0.1, 0.9, count), persistent=False)
        self._padding = padding

    def forward(self, x: Any) -> Any:
        """Convolve with the kernel that both make."""
        of_time = self.sin_weights @ self.sines + self.cos_weights @ self.cosines
        kernel = torch.einsum("oit,oihw->oithw", of_time, self.weight_spatial[:, :, 0])
        return torch.nn.functional.conv3d(x, kernel, padding=self._padding)

    def penalty(self) -> Any:
        """Squared weights of fast sines and cosines, mean over output channels."""
        weights = torch.cat([self.sin_weights, self.cos_weights], 1)
        return (self.smoothness * weights).square().sum() / len(weights)


class Bias(torch.nn.Module):
    """A number for every channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(1, channels, 1, 1, 1))

    def forward(self, x: Any) -> Any:
        """Add it."""
        return x + self.bias


class Core(torch.nn.Module):
    """Layers of convolution, batch normalisation, bias and ELU; some halve the image after it."""

    def __init__(self, options: Mapping[str, Any]):
        super().__init__()
        channels, every = options["channels"], options["maxpool_every_n_layers"]
        sizes = zip(options["temporal_kernel_sizes"], options["spatial_kernel_sizes"], strict=True)
        self.features = torch.nn.Sequential()
        for number, (frames, pixels) in enumerate(sizes):
            padding = _padding(options["hidden_padding" if number else "input_padding"])
            inputs, outputs = channels[number : number + 2]
            layer = torch.nn.Sequential()
            layer.add_module("conv", Convolution(inputs, outputs, frames, pixels, padding))
            layer.add_module("norm", torch.nn.BatchNorm3d(outputs))
            layer.add_module("bias", Bias(outputs))
            layer.add_module("nonlin", torch.nn.ELU())
            if every is not None and number % every == 0:
                layer.add_module("pool", torch.nn.MaxPool3d((1, 2, 2)))
            self.features.add_module(f"layer{number}", layer)
        self._gamma = options["gamma_temporal"]

    def forward(self, x: Any) -> Any:
        """Feature maps ``(window, channel, time, height, width)`` of a stimulus of such axes."""
        return self.features(x)

    def regularizer(self) -> Any:
        """Penalty of all layers."""
        return self._gamma * sum(layer.conv.penalty() for layer in self.features)


class GaussianMask(torch.nn.Module):
    """Every neuron reads the maps through a Gaussian of its own."""

    def __init__(self, options: Mapping[str, Any], maps: Sequence[int], neurons: int):
        super().__init__()
        channels, height, width = maps
        rows, columns = (side / max(height, width) * torch.linspace(-1, 1, side) for side in (height, width))
        self.register_buffer("places", torch.cartesian_prod(rows, columns), persistent=False)
        self.mask_mean = torch.nn.Parameter(torch.zeros(neurons, 2))
        self.mask_log_var = torch.nn.Parameter(torch.zeros(neurons))
        self.features = torch.nn.Parameter(1 / channels + 0.01 * torch.randn(1, channels, 1, neurons))
        self.scale_param = torch.nn.Parameter(1 + 0.01 * torch.randn(neurons), requires_grad=options["scale"])
        self.bias = torch.nn.Parameter(torch.zeros(neurons), requires_grad=options["bias"])
        self._options, self._image = options, (height, width)

    def forward(self, x: Any) -> Any:
        """Responses ``(window, time, neuron)`` to maps ``(window, channel, time, height, width)``."""
        if self._options["positive"]:
            self.features.data.clamp_(min=0)
        read = torch.einsum("nctp,dp->nctd", x.flatten(3), self._masks())
        return torch.nn.functional.softplus((read * self.features).sum(1) * self.scale_param + self.bias)

    def regularizer(self) -> Any:
        """Size of masks, their distance from the centre, and the weights of features."""
        reduce = torch.mean if self._options["readout_reg_avg"] else torch.sum
        mask = reduce(self._variance()) + reduce((self._options["gaussian_mean_scale"] * self.mask_mean).square())
        features = reduce(self.features.abs())
        return self._options["mask_l1_reg"] * mask + self._options["feature_weights_l1_reg"] * features

    def _variance(self) -> Any:
        return torch.exp(self._options["gaussian_var_scale"] * self.mask_log_var)

    def _masks(self) -> Any:
        """Masks ``(neuron, pixel)``, each of which sums to one."""
        away = self.places - self._options["gaussian_mean_scale"] * self.mask_mean[:, None]
        exponent = away.square().sum(-1) / (self._variance()[:, None] + 1e-8)
        mask = torch.exp(-0.5 * exponent.clamp(max=20))
        return mask / mask.sum(1, keepdim=True)


class Model(torch.nn.Module):
    """The core and the readout of a session.

    Args:
        counterpart: openretina's words for them, see ``translation``.
        stimulus: ``(channel, time, height, width)`` of a window.
        neurons: of the session.

    Raises:
        UserError: others than those that are written here.
    """

    def __init__(self, counterpart: Mapping[str, Any], stimulus: Sequence[int], neurons: int):
        super().__init__()
        (core, of_core), (readout, of_readout) = counterpart["core"], counterpart["readout"]
        lacks = [path for path in (core, readout) if path.rpartition(".")[2] not in CLASSES]
        lacks += [f"{name} {of_core[name]!r}" for name, only in ONLY.items() if of_core.get(name, only) != only]
        if lacks:
            raise UserError(f"torch alone has the layers of Höfling's models; it lacks {', '.join(lacks)}")
        self.core = Core(of_core)
        with torch.no_grad():
            _, channels, _, *image = self.core.eval()(torch.zeros(1, *stimulus)).shape
        self.readout = GaussianMask(of_readout, (channels, *image), neurons)

    def forward(self, stimulus: Any) -> Any:
        """Predicted responses."""
        return self.readout(self.core(stimulus))

    def penalty(self) -> Any:
        """What a step adds to the loss."""
        return self.core.regularizer() + self.readout.regularizer()


def _padding(given: Any) -> Any:
    """Padding of a convolution: openretina's flags, or frames and pixels."""
    if isinstance(given, bool):
        return "same" if given else 0
    return tuple(given) if isinstance(given, list) else given
