"""A space is what the file says, or one line that says what is wrong with it."""

from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from configs import hoefling_high_res, hoefling_low_res
from configs.distributions import integers, log_integers, log_uniform, one_of, uniform
from configs.spaces import hoefling_high_res as high_res_space
from configs.spaces import hoefling_low_res as low_res_space
from openretina_jax.errors import UserError
from openretina_jax.runtime.settings import entries, returned_by
from openretina_jax.search.space import as_flag, as_flags, make_space

ENTRIES = entries(hoefling_low_res.get_config())


def test_distributions() -> None:
    space = {
        "optimizer.learning_rate": log_uniform(1e-3, 1e-1),
        "model.core.simple.gamma_temporal": uniform(1, 80),
        "model.core.simple.hidden_channels": one_of((16, 16), (32, 32)),
        "model.core.simple.pool_every": integers(1, 2),
        "train.windows.shared.windows_per_step": log_integers(1, 64),
        "train.compute_dtype": one_of("float32", "bfloat16"),
        "optimizer.reset_when_lowered": one_of(True, False),
    }
    assert make_space(space, ENTRIES, {"train.epochs": 3}) == {
        "optimizer.learning_rate": FloatDistribution(1e-3, 1e-1, log=True),
        "model.core.simple.gamma_temporal": FloatDistribution(1, 80),
        "model.core.simple.hidden_channels": CategoricalDistribution(["(16, 16)", "(32, 32)"]),
        "model.core.simple.pool_every": IntDistribution(1, 2),
        "train.windows.shared.windows_per_step": IntDistribution(1, 64, log=True),
        "train.compute_dtype": CategoricalDistribution(["float32", "bfloat16"]),
        "optimizer.reset_when_lowered": CategoricalDistribution(["True", "False"]),
    }


def test_values_as_flags() -> None:
    assert [as_flag(value) for value in (0.1 + 0.2, 3, (2, 2), "adamw", True)] == [
        "0.30000000000000004",
        "3",
        "(2, 2)",
        "adamw",
        "True",
    ]


@pytest.mark.parametrize(
    ("config", "space"),
    [
        (hoefling_low_res.get_config(), low_res_space.get_space()),
        (hoefling_high_res.get_config(), high_res_space.get_space()),
    ],
    ids=["low", "high"],
)
def test_published_spaces_fit_their_configurations(config: Any, space: dict[str, Any]) -> None:
    assert make_space(space, entries(config), {}).keys() == space.keys()
    layers = len(config.model.core.simple.temporal_kernel_sizes)
    channels = space["model.core.simple.hidden_channels"]["one_of"]
    assert [len(choice) for choice in channels] == [layers] * 3


def test_an_option_of_a_kind_that_is_searched_too() -> None:
    space = {"optimizer.kind": one_of("adamw", "sgd"), "optimizer.sgd.momentum": uniform(0, 1)}
    assert len(make_space(space, ENTRIES, {})) == 2
    drawn = {"optimizer.kind": "adamw", "optimizer.sgd.momentum": 0.5, "seed": 3}
    assert as_flags(drawn, ENTRIES) == ["--config.optimizer.kind=adamw", "--config.seed=3"]
    assert len(as_flags({**drawn, "optimizer.kind": "sgd"}, ENTRIES)) == 3


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, "the space is empty"),
        ({"optimizer.learning_rat": uniform(0, 1)}, 'did you mean "optimizer.learning_rate"'),
        ({"optimizer": uniform(0, 1)}, 'names "optimizer", but the configuration has none'),
        ({"seed": integers(0, 9)}, "config.seed is in the space and given as 3"),
        ({"optimizer.sgd.momentum": uniform(0, 1)}, 'no effect while config.optimizer.kind is "adamw"'),
        ({"model.core.gru.groups": integers(1, 2)}, 'no effect while config.model.core.kind is "simple"'),
        ({"train.epochs": uniform(1, 9)}, "config.train.epochs is of type int"),
        ({"optimizer.learning_rate": one_of(0.1, "fast")}, "would be 'fast', but .* is of type float"),
        ({"optimizer.learning_rate": one_of(True)}, "is of type float"),
        ({"model.core.simple.hidden_channels": one_of(16, 32)}, "is of type tuple"),
        ({"optimizer.learning_rate": log_uniform(0, 1)}, "0 < low <= high"),
        ({"optimizer.learning_rate": uniform(1, 0)}, "low, high"),
        ({"train.epochs": integers(1.5, 2)}, "integers"),
        ({"optimizer.learning_rate": {"normal": (0, 1)}}, r'is \{"normal": \[0, 1\]\}, but must be'),
        ({"optimizer.learning_rate": 0.1}, "is 0.1, but must be"),
        ({"train.compute_dtype": one_of()}, "one_of"),
    ],
)
def test_mistakes(space: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_space(space, ENTRIES, {"seed": 3})


def test_a_space_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "space.py"
    file.write_text(
        "from configs.distributions import integers\n\ndef get_space():\n    return {'seed': integers(1, 3)}\n"
    )
    assert returned_by(str(file), "get_space") == {"seed": {"integers": (1, 3)}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def get_spaces(): ...", r"space.py has no function get_space\(\); did you mean .*other.py"),
        ("1 / 0", "space.py, line 1: ZeroDivisionError: division by zero"),
        ("def get_space(:", "space.py: SyntaxError"),
        (None, "there is no file .*space.py; did you mean .*other.py"),
    ],
)
def test_files_that_give_no_space(tmp_path: Path, text: str | None, words: str) -> None:
    (tmp_path / "other.py").write_text("def get_space(): ...")
    file = tmp_path / "space.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=words):
        returned_by(str(file), "get_space")
