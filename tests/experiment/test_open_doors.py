"""Cores and readouts of one's own in configurations, and the model of one configuration on the data of another."""

import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from openretina_jax.errors import UserError
from openretina_jax.experiment.data import make_dataset
from openretina_jax.experiment.recipe import resolved
from openretina_jax.experiment.same_run import check_same_run
from openretina_jax.experiment.train import train
from openretina_jax.models.build import complete_options, make_model
from openretina_jax.models.core_readout import CoreReadout
from openretina_jax.models.saving import load_model
from openretina_jax.modules.cores import CORES
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.runtime.registry import Registry
from openretina_jax.runtime.settings import check_effect, entries, read_config
from tests import tiny
from tests.experiment.configuration import configuration
from tests.presets import shrink
from tests.scripts import call, mistake, printed

pytestmark = pytest.mark.usefixtures("blank_pictures")

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "extending.md").read_text(), re.DOTALL)
(DIFFERENCE,) = [example for example in EXAMPLES if "class DifferenceCore" in example]
MEAN = '''
import jax.numpy as jnp
from openretina_jax.modules.readouts import READOUTS
from openretina_jax.modules.readouts.lnp import LnpReadout


class Mean(LnpReadout):
    """All neurons see the mean over the features."""

    def __init__(self, in_shape, n_neurons, *, power: float = 1.0, shift: int | None = None, rngs, session_sizes=None):
        super().__init__((*in_shape[:2], 1), n_neurons, nonlinearity="softplus", rngs=rngs, session_sizes=session_sizes)
        self.power, self.shift = power, shift

    def __call__(self, maps, first=0, width=None, *, key=None):
        return super().__call__(maps.mean(axis=-1, keepdims=True), first, width, key=key) ** self.power


def mean(in_shape, n_neurons, power: float = 2.0, *, rngs):
    """A readout may be made by a function."""
    return Mean(in_shape, n_neurons, power=power, rngs=rngs)


NUMBER = 3
'''
SIZES = {"simulated.clips": 10, "simulated.clip_length": 30, "simulated.neurons_per_session": 3, "validation_clips": 2}
CONFIG = """

from configs import common


def get_config(arg=None):
    config = common.training()
    config.data = common.hdf5_data()
    config.model = common.model()
    config.train.windows.shared.update({"window_frames": 16, "windows_per_step": 2})
    config.train.epochs, config.train.picture_every = 1, 0
    config.logging.tensorboard = False
    CHOOSE
    return config
"""
CHOOSE = 'config.model.core.kind, config.model.readout.kind = "difference", "mean"'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a package of somebody else's, in which the process is."""
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "readouts.py").write_text(MEAN)
    (tmp_path / "my_lab" / "cores.py").write_text(DIFFERENCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("my_lab", "my_lab.readouts", "my_lab.cores"):
        sys.modules.pop(name, None)


def registering(folder: Path, choose: str = CHOOSE) -> Path:
    """A configuration in whose file a core and a readout register themselves."""
    (folder / "mine").mkdir()
    file = folder / "mine" / "config.py"
    registered = MEAN.replace("class Mean", '@READOUTS("mean")\nclass Mean')
    file.write_text(DIFFERENCE + registered + CONFIG.replace("CHOOSE", choose))
    return file


def trained(config: Any, folder: Path) -> CoreReadout:
    train(config, folder / "run", Console(quiet=True), dataset=tiny.dataset())
    model = load_model(folder / "run")
    assert isinstance(model, CoreReadout)
    return model


@pytest.mark.slow
def test_kinds_that_a_configuration_registers(folder: Path) -> None:
    """Every option of theirs is a setting, as for those of the package."""
    config = configuration(
        str(registering(folder)), "--config.model.core.difference.features=3", "--config.model.readout.mean.shift=2"
    )
    model = trained(config, folder)
    assert model.options["core"] == {"kind": "difference", "features": 3, "frames": 5, "gamma": 0.0}
    assert model.options["readout"] == {"kind": "mean", "power": 1.0, "shift": 2}
    assert model.core.mix.shape == (2, 3)
    assert model.readout.shift == 2


@pytest.mark.slow
def test_kinds_by_the_names_of_modules(folder: Path) -> None:
    """Of a class and of a function; the run says where they are, so that it can be opened anywhere."""
    config = configuration(
        str(ROOT / "configs" / "template.py"),
        "--config.model.core.kind=my_lab.cores:DifferenceCore",
        '--config.model.core.options={"features": 3}',
        "--config.model.readout.kind=my_lab.readouts:mean",
        "--config.train.windows.session.window_frames=16",
        "--config.train.windows.session.windows_per_step=2",
        "--config.train.epochs=1",
    )
    model = trained(config, folder)
    assert model.options == {
        "core": {"kind": "my_lab.cores:DifferenceCore", "features": 3, "frames": 5, "gamma": 0.0},
        "readout": {"kind": "my_lab.readouts:mean", "power": 2.0},
    }
    assert model.readout.power == 2.0


@pytest.mark.slow
def test_the_script_trains_a_core_of_ones_own(folder: Path) -> None:
    """The core of docs/extending.md in the file of an experiment."""
    file = registering(folder, 'config.model.core.kind = "difference"')
    hdf5 = "hdf5_core_readout.get_config('simulated,quick').data"
    text = file.read_text().replace("common.hdf5_data()", hdf5)
    file.write_text(text.replace("from configs import common\n", "from configs import common, hdf5_core_readout\n"))
    data = [f"--config.data.{name}={size}" for name, size in SIZES.items()]
    line = (f"--config={file}", "--workdir=run", *data)
    assert "neurons.csv" in printed(call("train.py", *line, cache=folder / "cache", folder=folder))
    wrong = call("train.py", *line, "--config.model.core.difference.fetures=3", cache=folder / "cache", folder=folder)
    assert mistake(wrong) == 'error: the configuration has no entry "fetures"; did you mean "features"?'


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "my_lab.coros:DifferenceCore",
            'cannot be imported: there is no module "my_lab.coros"; install it, or start in',
        ),
        ("your_lab.cores:DifferenceCore", 'there is no module "your_lab"'),
        ("my_lab.cores:DiferenceCore", 'my_lab.cores has no "DiferenceCore"; did you mean "DifferenceCore"'),
        ("my_lab.readouts:NUMBER", '"my_lab.readouts:NUMBER" is 3, but must be a class or a function'),
        ("my_lab.cores:", 'core kind "my_lab.cores:" is no "package.module:Name"'),
        ("my lab:Core", 'is no "package.module:Name"'),
        ("differrence", 'config.model.core.kind is "differrence"; choose among gru, identity, simple'),
    ],
)
def test_kinds_that_are_nowhere(folder: Path, kind: str, message: str) -> None:
    config = read_config(ROOT / "configs" / "template.py")
    config.model.core.kind = kind
    with pytest.raises(UserError, match=message):
        resolved(config.to_dict())


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("gru", {"bias": False}, 'core.options is given, but the options of "gru" are those of config.model.core.gru'),
        ("my_lab.cores:DifferenceCore", "features=3", "core.options is 'features=3', but must be a dictionary"),
        ("my_lab.cores:DifferenceCore", {"fetures": 3}, 'has no option "fetures"; did you mean "features"'),
    ],
)
def test_options_that_do_not_belong_to_the_kind(folder: Path, kind: str, options: Any, message: str) -> None:
    config = read_config(ROOT / "configs" / "template.py")
    config.model.core.kind, config.model.core.options = kind, options
    with pytest.raises(UserError, match=message):
        make_model(resolved(config.to_dict())["model"], tiny.dataset().info)


def test_a_shifter_is_there_only_if_it_is_named() -> None:
    config = read_config(ROOT / "configs" / "template.py")
    assert set(resolved(config.to_dict())["model"]) == {"core", "readout"}
    with pytest.raises(UserError, match=r"shifter.mlp.gamma is given, but .* config.model.shifter.kind is None"):
        check_effect(["model.shifter.mlp.gamma"], entries(config))
    config.model.shifter.options = {"gamma": 0.1}
    with pytest.raises(UserError, match=r"config.model.shifter.options is given, but no config.model.shifter.kind"):
        resolved(config.to_dict())
    config.model.shifter.options, config.model.shifter.kind = None, "mlp"
    config.model.shifter.mlp.max_shift = 0.0
    with pytest.raises(UserError, match=r"config.model.shifter.max_shift is 0.0, but must be above 0"):
        resolved(config.to_dict())
    options = {"kind": "openretina_jax.modules.shifters:MlpShifter", "hidden": [4]}
    model = make_model(tiny.MODEL | {"shifter": options}, tiny.with_behaviour().info)
    assert model.shifter.output.shape == (3, 4, 2)


def test_options_of_a_registered_kind_that_is_not_chosen(folder: Path) -> None:
    config = read_config(registering(folder, 'config.model.readout.kind = "mean"'))
    with pytest.raises(UserError, match=r'difference.features is given, but .* config.model.core.kind is "simple"'):
        check_effect(["model.core.difference.features"], entries(config))


def test_options_of_functions() -> None:
    """Those that the caller gives are none; what JSON cannot hold stays the function's own affair."""
    losses = Registry("loss", __name__, given=("prediction",))

    @losses("squared")
    def squared(prediction: Any, power: float = 2.0, weight: float | None = None, *, name: str, of: Any = len) -> Any:
        return prediction, power, weight, name, of

    assert list(losses.options("squared")) == ["power", "weight", "name"]
    assert losses.complete({"kind": "squared", "name": "mine"}) == {
        "kind": "squared",
        "power": 2.0,
        "weight": None,
        "name": "mine",
    }
    assert losses.make({"kind": "squared", "name": "mine"}, {"prediction": 1}) == (1, 2.0, None, "mine", len)
    with pytest.raises(UserError, match='loss "squared" needs name'):
        losses.make({"kind": "squared", "name": None}, {"prediction": 1})


def defaults_in(config: Any, part: str, kind: str) -> dict[str, Any]:
    return {name: value for name, value in config[part][kind].to_dict().items() if value is not None}


@pytest.mark.parametrize("part", ["core", "readout"])
def test_configurations_have_the_defaults_of_the_classes(part: str) -> None:
    """So that a model from Python and one from a configuration are the same."""
    from configs import common

    registry = {"core": CORES, "readout": READOUTS}[part]
    model = common.model()
    for kind in registry.kinds():
        of_class = {
            name: parameter.default
            for base in reversed(registry[kind].__mro__)
            if "__init__" in vars(base)
            for name, parameter in inspect.signature(base.__init__).parameters.items()
            if parameter.default is not inspect.Parameter.empty
        }
        assert defaults_in(model, part, kind).items() <= of_class.items()
        assert set(model[part][kind]) == set(registry.options(kind))
    core, readout = {"kind": "identity"}, {"kind": "lnp"}
    model.core.kind, model.readout.kind = "identity", "lnp"
    config = read_config(ROOT / "configs" / "template.py")
    config.model = model
    assert resolved(config.to_dict())["model"] == complete_options({"core": core, "readout": readout})


def test_runs_that_kept_the_given_options_alone(tmp_path: Path) -> None:
    """As runs did that began with another model; those that were not given had their defaults."""
    settings = resolved(read_config(ROOT / "configs" / "template.py").to_dict())
    options = complete_options(tiny.MODEL)
    about = {"config": {**settings, "model": options}, "data_info": json.loads(tiny.dataset().info.to_json())}
    (tmp_path / "checkpoints" / "1" / "about").mkdir(parents=True)
    kept = tmp_path / "checkpoints" / "1" / "about" / "metadata"
    kept.write_text(json.dumps({**about, "config": {**settings, "model": tiny.MODEL}}))
    check_same_run(tmp_path, json.loads(json.dumps(about)))
    options["readout"]["var_scale"] = 3.0
    with pytest.raises(UserError, match=r"config\.model\.readout\.var_scale is 3\.0 now and 1\.0 there"):
        check_same_run(tmp_path, json.loads(json.dumps(about)))


def mixed(model: str, data: str, words: str = "simulated,quick") -> Any:
    return read_config(f"{ROOT / 'configs' / 'mix.py'}:model={model},data={data},{words}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("hoefling_low_res", "maheswaranathan_2023_core_readout"),
        ("vystrcilova_2024_wn_cnn", "hoefling_low_res"),
        ("sridhar_2025_nm_sc_multicell", "vystrcilova_2024_wn_cnn"),
        ("goldin_2022_core_readout", "hoefling_low_res"),
    ],
)
def test_the_model_of_one_on_the_data_of_another(model: str, data: str, simulated: Path) -> None:
    config = mixed(model, data)
    alone = [read_config(f"{ROOT / 'configs' / name}.py:simulated,quick") for name in (model, data)]
    assert config.data.to_dict() == alone[1].data.to_dict()
    assert config.objective.to_dict() == alone[0].objective.to_dict()
    shrink(config, data)
    settings = resolved(config.to_dict())
    built = make_model(settings["model"], make_dataset(settings["data"], simulated).info)
    windows = settings["train"]["windows"][settings["train"]["order"]]
    assert windows["window_frames"] > built.lag
    within = [one.train.windows[one.train.order].within_clips for one in (config, alone[1])]
    assert within[0] == within[1]


def test_words_go_to_the_files_that_know_them() -> None:
    config = mixed("hoefling_low_res", "karamanlis_2024_core_readout", "simulated,gru,marmoset")
    assert (config.model.core.kind, config.data.species, config.data.simulated.enabled) == ("gru", "marmoset", True)
    assert config.train.windows.shared.within_clips


@pytest.mark.parametrize("stimulus", ["nm", "wn"])
def test_filters_are_mirrored_as_the_data_need_it(stimulus: str) -> None:
    other = {"nm": "wn", "wn": "nm"}[stimulus]
    config = mixed(f"sridhar_2025_{other}_sc", f"sridhar_2025_{stimulus}_sc")
    assert config.model.readout.spatial_contrast.flip_sta == (stimulus == "nm")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "needs the names of two configurations after a colon, such as model="),
        ("model=hoefling_low_res", "needs the names of two"),
        ("model=hoefling_lowres,data=template", 'no configuration "hoefling_lowres"; did you mean "hoefling_low_res"'),
        ("model=template,data=common", 'there is no configuration "common"'),
        ("model=template,data=hoefling_low_res,simulatd", 'does not know "simulatd"; did you mean "simulated"'),
        ("model=sridhar_2025_nm_sc,data=hoefling_low_res", '"spatial_contrast" looks where spike-triggered averages'),
        ("model=vystrcilova_2024_wn_ln,data=hdf5_core_readout", '"separable_lnp" looks where'),
        ("model=hoefling_low_res,data=goldin_2022_core_readout", "single images, but the model looks back in time"),
    ],
)
def test_pairs_that_do_not_go_together(words: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_config(f"{ROOT / 'configs' / 'mix.py'}:{words}")


@pytest.mark.parametrize("words", ["lnp,separable_lnp", "gru,lnp", "klindt,point_gaussian"])
def test_words_that_exclude_each_other(words: str) -> None:
    with pytest.raises(UserError, match=f"the words {words.replace(',', ' and ')} exclude each other"):
        read_config(f"{ROOT / 'configs' / 'hoefling_low_res.py'}:{words}")
