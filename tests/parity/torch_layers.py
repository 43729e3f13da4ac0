"""Check that benchmarks/torch_layers.py computes what openretina does: the same parameters, numbers and steps.

python tests/parity/torch_layers.py /path/to/python

The path is that of a Python in which torch and openretina are installed. The models are those of both resolutions of
Höfling et al. 2024, as the benchmarks measure them.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODELS = {"hoefling_low_res": (2, 40, 18, 16), "hoefling_high_res": (2, 40, 72, 64)}  # stimuli of a window
NEURONS, WINDOWS, STEPS = 5, 2, 3


def counterparts() -> dict[str, Any]:
    """openretina's words for the models."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.translation import translate
    from openretina_jax.experiment.recipe import resolved
    from openretina_jax.runtime.settings import read_config

    return {
        name: translate(resolved(read_config(ROOT / "configs" / f"{name}.py").to_dict()), stimulus[0])
        for name, stimulus in MODELS.items()
    }


def compare(counterpart: Mapping[str, Any], stimulus: tuple[int, ...]) -> None:
    """Load openretina's weights, and compare predictions, losses, gradients, and both after some steps."""
    import torch

    sys.path.insert(0, str(ROOT / "benchmarks"))
    import reference
    import torch_layers

    torch.manual_seed(0)
    height, width = stimulus[2:]
    task = {"input_shape": (height, width, stimulus[0]), "clip_frames": stimulus[1], "neurons": NEURONS}
    theirs = reference.Model({**task, "counterpart": counterpart}, ["session"])
    ours = torch_layers.Model(counterpart, stimulus, NEURONS)
    state = {_in_ours(name): value for name, value in theirs.state_dict().items()}
    left = ours.load_state_dict(state, strict=False)
    assert left.missing_keys == []
    computed = {"_log_speed_default", "filter", "grid"}  # of no parameter
    assert {name.rpartition(".")[2] for name in left.unexpected_keys} <= computed, left.unexpected_keys
    sizes = [sum(one.numel() for one in model.parameters()) for model in (theirs, ours)]
    assert sizes[0] == sizes[1], sizes

    movie, responses = torch.randn(WINDOWS, *stimulus), torch.rand(WINDOWS, stimulus[1], NEURONS)
    settings = {"train": {"compute_dtype": "float32"}, "optimizer": {"clip_norm": 1.0}}
    optimizers = [torch.optim.AdamW(model.parameters(), **counterpart["optimizer"]) for model in (theirs, ours)]
    poisson = reference.PoissonLoss3d()
    losses = (
        lambda: poisson(theirs(movie, "session"), responses) + theirs.penalty("session"),
        lambda: torch_layers.poisson_loss(ours(movie), responses) + ours.penalty(),
    )

    def same(what: str) -> None:
        """Whether predictions and parameters agree to rounding."""
        with torch.no_grad():
            predicted = [theirs.eval()(movie, "session"), ours.eval()(movie)]
        torch.testing.assert_close(*predicted, rtol=1e-4, atol=1e-5, msg=lambda text: f"{what}: {text}")
        theirs.train(), ours.train()

    same("predictions")
    gradients = []
    for model, loss in zip((theirs, ours), losses, strict=True):
        loss().backward()
        gradients.append({_in_ours(name): one.grad for name, one in model.named_parameters()})
    for name, gradient in gradients[0].items():
        size = float(gradient.abs().max())
        torch.testing.assert_close(gradients[1][name], gradient, rtol=0, atol=1e-4 * size + 1e-6, msg=name)
    for number in range(STEPS):
        both = [torch_layers.descend({"settings": settings}, *one) for one in zip(optimizers, losses, strict=True)]
        assert abs(both[0] - both[1]) <= 1e-4 * abs(both[0]), (number, both)
    print(f"{sizes[0]} parameters; losses of step {STEPS}: {both}", flush=True)


def _in_ours(name: str) -> str:
    """Name of a parameter in a model of one session."""
    return name.replace("readout.session.", "readout.")


def main() -> None:
    """Compare here where openretina is installed, else there."""
    if sys.argv[1:] == ["--here"]:
        for name, counterpart in json.load(sys.stdin).items():
            print(name, end=": ")
            compare(counterpart, MODELS[name])
        return
    (python,) = sys.argv[1:]
    command = [python, __file__, "--here"]
    sys.exit(subprocess.run(command, input=json.dumps(counterparts()), text=True).returncode)


if __name__ == "__main__":
    main()
