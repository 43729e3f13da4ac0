import os
import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from openretina_jax.errors import UserError
from openretina_jax.runtime.pickles import load_plain_pickle

PLAIN = {
    "array": np.arange(6.0).reshape(2, 3),
    "column-major": np.asfortranarray(np.ones((2, 3), np.float32)),
    "empty": np.empty((0, 2), np.uint8),
    "big-endian": np.arange(3, dtype=">i4"),
    "words": np.array(["green", "UV"]),
    "objects": np.array([1, None], dtype=object),
    "record": np.zeros(2, [("mean", "f4"), ("sd", "f4")]),
    "scalar": np.float32(2.5),
    "boolean": np.bool_(True),
    "dtype": np.dtype("float32"),
    "bytes": b"\x00\xff",
    "containers": [{1, 2}, frozenset({3}), (4, [5.0, None, True, 1j]), bytearray(b"a")],
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_come_back(tmp_path, protocol):
    file = tmp_path / "plain.pkl"
    file.write_bytes(pickle.dumps(PLAIN, protocol))
    loaded, expected = load_plain_pickle(file), pickle.loads(file.read_bytes())
    assert loaded.keys() == PLAIN.keys()
    for key, value in expected.items():
        assert type(loaded[key]) is type(value)
        if isinstance(value, np.ndarray):
            assert loaded[key].dtype == value.dtype
            np.testing.assert_array_equal(loaded[key], PLAIN[key])
        else:
            assert loaded[key] == PLAIN[key]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_both_spellings_of_numpy_are_read(tmp_path, protocol):
    values = {"array": np.arange(3.0), "scalar": np.float64(1.5)}
    written = pickle.dumps(values, protocol)
    assert b"numpy._core" in written
    older = pickle.dumps(values, protocol).replace(b"numpy._core", b"numpy.core")
    if protocol >= 4:  # the length of the name and of the frame stand before them
        older = older.replace(b"\x8c\x16numpy.core", b"\x8c\x15numpy.core")
        older = older.replace(b"\x8c\x13numpy.core", b"\x8c\x12numpy.core")
        shorter = written.count(b"numpy._core")
        older = older[:3] + (int.from_bytes(older[3:11], "little") - shorter).to_bytes(8, "little") + older[11:]
    file = tmp_path / "older.pkl"
    file.write_bytes(older)
    assert b"numpy._core" not in older
    np.testing.assert_array_equal(load_plain_pickle(file)["array"], values["array"])
    assert load_plain_pickle(file)["scalar"] == 1.5


def test_booleans_that_old_versions_wrote_as_numbers(tmp_path):
    file = tmp_path / "dtype.pkl"
    file.write_bytes(b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f4K\x00K\x01\x87R.")
    assert load_plain_pickle(file) == np.dtype("f4")


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.uint8, np.int64, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
    ),
    st.sampled_from([2, 3, 4, 5]),
)
def test_every_array_comes_back(tmp_path_factory, array, protocol):
    file = tmp_path_factory.getbasetemp() / "array.pkl"
    file.write_bytes(pickle.dumps(array, protocol))
    loaded = load_plain_pickle(file)
    assert loaded.dtype == array.dtype
    np.testing.assert_array_equal(loaded, array)


class Touch:
    """Pickled as a call that would leave a trace."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


FORBIDDEN = {
    "a function of ours": b"cos\nsystem\n(Vtrue\ntR.",
    "eval": b"cbuiltins\neval\n(V1\ntR.",
    "getattr": b"cbuiltins\ngetattr\n.",
    "numpy.load": b"cnumpy\nload\n.",
    "a name with a dot": b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.view\x93.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"Pname\n.",
    "another codec": b"c_codecs\nencode\n(Vtext\nVrot13\ntR.",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_nothing_else_is_read(tmp_path, name):
    file = tmp_path / "bad.pkl"
    file.write_bytes(FORBIDDEN[name])
    with pytest.raises(UserError, match=r"bad\.pkl: ") as raised:
        load_plain_pickle(file)
    assert "\n" not in str(raised.value)


def test_nothing_is_run_and_the_global_is_named(tmp_path):
    trace = tmp_path / "trace"
    file = tmp_path / "malicious.pkl"
    file.write_bytes(pickle.dumps({"train": np.zeros(2), "test": Touch(trace)}))
    with pytest.raises(UserError, match=r"asks for posix\.mkdir"):
        load_plain_pickle(file)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"\x89HDF\r\n\x1a\n", b"\x80\x04N", b"\x80\xff."])
def test_foreign_files_are_refused(tmp_path, content):
    file = tmp_path / "foreign.pkl"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"foreign\.pkl: is truncated or not a pickle"):
        load_plain_pickle(file)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_truncated_files_are_refused(tmp_path_factory, data):
    whole = pickle.dumps(PLAIN)
    file = tmp_path_factory.getbasetemp() / "truncated.pkl"
    file.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(UserError, match=r"truncated\.pkl: is truncated"):
        load_plain_pickle(file)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.pkl: cannot be read \(No such file"):
        load_plain_pickle(tmp_path / "absent.pkl")


def test_the_forbidden_pickles_are_pickles():
    for content in FORBIDDEN.values():
        assert list(pickletools.genops(content))
