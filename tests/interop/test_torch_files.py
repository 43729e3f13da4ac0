"""Files of torch, read without torch: every kind of tensor, and nothing in them is run."""

import contextlib
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openretina_jax.errors import UserError
from openretina_jax.interop import torch_files
from openretina_jax.interop.torch_files import (
    _Storage,
    _tensor,
    plain,
    read_lightning_checkpoint,
    read_torch_file,
)
from openretina_jax.runtime.pickled_values import Record
from tests.interop.frozen import FOLDER, path_of


def test_every_kind_of_tensor() -> None:
    tensors = read_lightning_checkpoint(path_of("tensors")).state
    with np.load(FOLDER / "tensors.npz") as arrays:
        expected = dict(arrays)
    assert tensors.keys() == expected.keys()
    for name, array in expected.items():
        found = tensors[name].astype(np.float32) if name == "bfloat16" else tensors[name]
        assert (found.shape, found.dtype) == (array.shape, array.dtype), name
        np.testing.assert_array_equal(found, array, err_msg=name)


def written(folder: Path, content: bytes, **members: str) -> Path:
    """A file of torch with this pickle."""
    path = folder / "made.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("made/data.pkl", content)
        for name, text in members.items():
            archive.writestr(f"made/{name}", text)
    return path


class Touch:
    """Pickled as a call that would leave a trace."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_is_run(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    content = {
        "state_dict": OrderedDict(weight=Touch(os.mkdir, str(trace))),
        "hyper_parameters": {"loss": Touch(eval, f"__import__('os').mkdir({str(trace)!r})")},
    }
    path = written(tmp_path, pickle.dumps(content, protocol))
    found = read_torch_file(path)
    assert not trace.exists()
    assert isinstance(found["hyper_parameters"]["loss"], Record)
    assert found["hyper_parameters"]["loss"].origin == "builtins.eval"
    with pytest.raises(UserError, match="its state_dict holds weight, which are no tensors"):
        read_lightning_checkpoint(path)
    assert not trace.exists()


def test_objects_of_unknown_classes_are_records() -> None:
    found = read_lightning_checkpoint(path_of("spatial_contrast")).hyper_parameters
    assert found["loss"].origin == "openretina.modules.losses.poisson.PoissonLoss3d"
    assert found["core"].origin.endswith(".DummyCore")
    assert isinstance(found["sta_dir"], str)


def test_configurations_are_plain_values() -> None:
    found = read_lightning_checkpoint(path_of("by_hydra")).hyper_parameters
    assert found["core"]["temporal_kernel_sizes"] == [6, 3]
    assert found["n_neurons_dict"] == {"right_b": 3, "left_a": 2}
    assert found["learning_rate"] == 0.01


def node(parent: Record | None, **state: Any) -> Record:
    """A node of OmegaConf as it is read."""
    return Record("omegaconf.nodes.AnyNode", state={"_parent": parent, **state})


def test_interpolations_are_followed() -> None:
    root = node(None, _content={})
    inner = node(root, _content={})
    root.state["_content"] = {"rate": node(root, _val=0.5), "model": inner}
    inner.state["_content"] = {
        "from_root": node(inner, _val="${rate}"),
        "beside": node(inner, _val="${.from_root}"),
        "above": node(inner, _val="${..rate}"),
        "text": node(inner, _val="a ${b}"),
    }
    assert plain(root)["model"] == {"from_root": 0.5, "beside": 0.5, "above": 0.5, "text": "a ${b}"}
    inner.state["_content"]["lost"] = node(inner, _val="${absent.rate}")
    with pytest.raises(KeyError, match="leads nowhere"):
        plain(root)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"version": "11"}, "has the format 11 of PyTorch, formats up to 10 are known"),
        ({".format_version": "2"}, "formats up to 10 are known"),
        ({"byteorder": "big"}, "has big-endian numbers"),
        ({"inside/data.pkl": ""}, "is a zip archive but no checkpoint of PyTorch"),
    ],
)
def test_other_formats_are_refused(tmp_path: Path, members: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_torch_file(written(tmp_path, pickle.dumps({}, 2), **members))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps([1, 2], 2), "is a file of PyTorch but no checkpoint of Lightning"),
        (pickle.dumps({"weight": 1}, 2), "is a file of PyTorch but no checkpoint of Lightning"),
        (pickle.dumps({"state_dict": {}, "hyper_parameters": [1]}, 2), r"hyper-parameters are \[1\]"),
    ],
)
def test_files_of_others_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_lightning_checkpoint(written(tmp_path, content))


def test_memos_larger_than_the_file_take_no_memory(tmp_path: Path) -> None:
    """Python's own reader would ask for 64 GB."""
    assert read_torch_file(written(tmp_path, b"\x80\x02}r\xf0\xff\xff\xff.")) == {}


@pytest.mark.parametrize("content", [b"", b"\x80\x02}q\x00.", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"])
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "foreign.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"foreign\.ckpt: is truncated or no checkpoint of PyTorch") as caught:
        read_torch_file(path)
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.ckpt: cannot be read \(No such file"):
        read_torch_file(tmp_path / "absent.ckpt")


WHOLE = path_of("lnp").read_bytes()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_truncated_files_are_refused(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.getbasetemp() / "truncated.ckpt"
    path.write_bytes(WHOLE[:length])
    with pytest.raises(UserError, match=r"truncated\.ckpt: "):
        read_torch_file(path)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_damaged_pickles_are_refused_or_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever byte is changed: an object or one line, and never a call."""
    with zipfile.ZipFile(io.BytesIO(WHOLE)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    program = bytearray(members["archive/data.pkl"])
    program[data.draw(st.integers(0, len(program) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, "archive/data.pkl": bytes(program)}.items():
            archive.writestr(name, content)
    with contextlib.suppress(UserError):
        read_lightning_checkpoint(path)


@pytest.mark.parametrize(
    "view", [(0, (30,), (1,)), (20, (5,), (1,)), (0, (2, 3), (22, 1)), (0, (4,), (-1,)), (-1, (2,), (1,))]
)
def test_tensors_outside_their_storage_are_refused(view: tuple[int, tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="lies outside of its 24 numbers"):
        _tensor(_Storage(np.arange(24.0)), *view)


def test_views_of_views_are_refused() -> None:
    """The first says that it has a hundred numbers, which all are one."""
    hundred = _tensor(_Storage(np.arange(1.0)), 0, (100,), (0,))
    with pytest.raises(ValueError, match="is a view of no storage"):
        _tensor(hundred, 0, (100,), (1,))


def test_one_number_is_no_terabyte() -> None:
    with pytest.raises(ValueError, match="has only 1 numbers"):
        _tensor(_Storage(np.arange(1.0)), 0, (1 << 40,), (0,))


def test_arrays_of_objects_are_no_tensors(tmp_path: Path) -> None:
    content = {"state_dict": {"weight": np.array([None, {}])}}
    with pytest.raises(UserError, match="holds an array of "):
        read_lightning_checkpoint(written(tmp_path, pickle.dumps(content)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {5: np.zeros(3)}}, "state_dict has the name 5, but names must be text"),
        ({"state_dict": {}, "hyper_parameters": {1: 2}}, "hyper_parameters has the name 1"),
    ],
)
def test_names_must_be_text(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_lightning_checkpoint(written(tmp_path, pickle.dumps(content, 2)))


def test_hyper_parameters_that_hold_each_other_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_files, "_MOST_VALUES", 10_000)
    doubled: list[Any] = []
    for _ in range(60):
        doubled = [doubled, doubled]
    content = {"state_dict": {}, "hyper_parameters": {"model": doubled}}
    with pytest.raises(UserError, match="hold themselves, or more than 10000 values"):
        read_lightning_checkpoint(written(tmp_path, pickle.dumps(content)))
