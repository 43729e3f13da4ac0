import os
import pickle
import pickletools
import struct

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
    "scalar": np.float32(2.5),
    "boolean": np.bool_(True),
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
            assert loaded[key].dtype == value.dtype.newbyteorder("=")
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
    file = tmp_path / "scalar.pkl"
    dtype = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4K\x00K\x01\x87R"
    file.write_bytes(b"\x80\x03cnumpy.core.multiarray\nscalar\n" + dtype + b"C\x04\x00\x00\x80?\x86R.")
    assert load_plain_pickle(file) == np.float32(1)


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


class Made:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


ADDRESS = struct.pack("Q", 0x4141414141)
V8 = b"cnumpy\ndtype\nX\x02\x00\x00\x00%sI00\nI01\n\x87R"
LARGER = b"(K\x03X\x01\x00\x00\x00|NNNJ\x00\x00\x00\x10K\x01K\x00tb"  # a state: 268 MB an entry
DEEP = "a key that is as deep as the stack"
HOSTILE = {
    "objects at addresses of the file": pickle.dumps(Made(np.ndarray, (1,), np.dtype("O"), ADDRESS)),
    "the same while it is read": pickle.dumps(Made(set, Made(np.ndarray, (1,), np.dtype("O"), ADDRESS))),
    "strides that leave the memory": pickle.dumps(Made(np.ndarray, (1 << 40,), np.dtype("u1"), b"1234", 0, (0,))),
    "objects": pickle.dumps(np.array([1, None], dtype=object)),
    "objects from bytes": pickle.dumps(np.zeros(1)).replace(b"f8", b"O8"),
    "fields": pickle.dumps(np.zeros(2, [("mean", "f4"), ("sd", "f4")])),
    "dates": pickle.dumps(np.array(["2020-01-01"], "datetime64[D]")),
    "a larger type": b"\x80\x03" + V8 % b"S8" + LARGER + b".",
    "a larger type of numbers": b"\x80\x03" + V8 % b"f8" + LARGER + b".",
    "a state of a function": b"\x80\x03c_codecs\nencode\n}X\x01\x00\x00\x00aK\x01sb.",
    "a state of a number": b"\x80\x03K\x01}X\x01\x00\x00\x00aK\x01sb.",
    "an array without content": pickle.dumps(np.zeros(9), 2)[:30] + b".",
    "more bytes than there are": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "a gigantic allocation": b"cbuiltins\nbytearray\n(I9999999999999\ntR.",
    "a gigantic memo": b"\x80\x02}r\xf0\xff\xff\xff.",
    "a list in itself": b"]p0\ng0\na.",
    "keys that are hashed for ever": b"\x80\x02}K\x01" + b"2\x86" * 60 + b"Ns.",
    DEEP: b"\x80\x02})" + b"\x85" * 300_000 + b"Ns.",
    "lists that double": b"\x80\x02]" + b"2\x86" * 60 + b".",
    "a class": b"cnumpy\nndarray\n.",
}


@pytest.mark.parametrize("name", [*sorted(HOSTILE.keys() - {DEEP}), pytest.param(DEEP, marks=pytest.mark.slow)])
def test_no_file_decides_what_memory_is_read(tmp_path, name):
    file = tmp_path / "hostile.pkl"
    file.write_bytes(HOSTILE[name])
    if name == "a gigantic memo":
        assert load_plain_pickle(file) == {}
        return
    with pytest.raises(UserError, match=r"hostile\.pkl: ") as raised:
        load_plain_pickle(file)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_bytes_that_are_no_booleans_are_true(tmp_path):
    file = tmp_path / "mask.pkl"
    file.write_bytes(pickle.dumps(np.array([False, True])).replace(b"\x00\x01\x94t", b"\x00\x7f\x94t"))
    assert load_plain_pickle(file).tobytes() == b"\x00\x01"


def test_containers_may_be_shared(tmp_path):
    file = tmp_path / "shared.pkl"
    array = np.arange(3.0)
    file.write_bytes(pickle.dumps([array, (array, {"again": array})]))
    first, (second, third) = load_plain_pickle(file)
    assert first is second is third["again"]
    np.testing.assert_array_equal(first, array)


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
