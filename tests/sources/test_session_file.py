"""Damaged and hostile HDF5 files: one line that names the file, and nothing is read from elsewhere."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from openretina_jax.errors import UserError
from openretina_jax.sources.session_file import open_session

VALUES = np.arange(12.0).reshape(3, 4)


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = VALUES
    with h5py.File(tmp_path / "session.h5", "w") as opened:
        opened["values"] = VALUES
    return tmp_path / "session.h5"


def external_storage(file):
    file.create_dataset("bad", (3, 4), "u1", external=[("/etc/passwd", 0, 12)])


def virtual_array(file):
    layout = h5py.VirtualLayout((3, 4), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3, 4))
    file.create_virtual_dataset("bad", layout)


def link(target, **others):
    def make(file):
        file["bad"] = target
        for name, other in others.items():
            file[name] = other

    return make


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (link(h5py.ExternalLink("other.h5", "x")), r'session\.h5: "bad" is a link to other\.h5; copy'),
        (link(h5py.SoftLink("/b"), b=h5py.ExternalLink("other.h5", "x")), r'"bad" is a link to other\.h5'),
        (link(h5py.SoftLink("/b/x"), b=h5py.ExternalLink("other.h5", "/")), r'"bad" is a link to other\.h5'),
        (link(h5py.SoftLink("/bad")), '"bad" is a link that leads in a circle'),
        (link(h5py.SoftLink("/b"), b=h5py.SoftLink("/bad")), '"bad" is a link that leads in a circle'),
        (link(h5py.SoftLink("/nothing")), '"bad" is missing'),
        (external_storage, '"bad" is stored in another file, /etc/passwd'),
        (virtual_array, '"bad" is a virtual array of other files'),
        (lambda file: file.create_dataset("bad", (1 << 20, 1 << 20), "f8", chunks=(1, 1 << 10)), '"bad" claims to be'),
    ],
)
def test_nothing_is_read_from_elsewhere(file, make, message):
    with h5py.File(file, "r+") as opened:
        make(opened)
    with open_session(file) as session:
        np.testing.assert_array_equal(session.numbers("values"), VALUES)
        with pytest.raises(UserError, match=message):
            session.numbers("bad")


def test_links_within_the_file_are_followed(file):
    with h5py.File(file, "r+") as opened:
        opened["group/inner"] = h5py.SoftLink("/values")
        opened["again"] = h5py.SoftLink("group/inner")
        layout = h5py.VirtualLayout((3, 4), "f8")
        layout[:] = h5py.VirtualSource(".", "values", (3, 4))
        opened.create_virtual_dataset("virtual", layout)
    with open_session(file) as session:
        for key in ("group/inner", "again", "virtual"):
            np.testing.assert_array_equal(session.numbers(key), VALUES)


def test_names_of_any_encoding(file):
    with h5py.File(file, "r+") as opened:
        opened["réponses"] = VALUES
        opened[b"caf\xe9"] = VALUES
    with open_session(file) as session:
        assert session.names() == ["café", "réponses", "values"]
        for key in session.names():
            np.testing.assert_array_equal(session.numbers(key), VALUES)


def test_damage_anywhere_is_one_line(file):
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        content = bytearray(whole)
        for place in rng.integers(len(content), size=8):
            content[place] ^= 1 << rng.integers(8)
        file.write_bytes(content)
        try:
            with open_session(file) as session:
                session.numbers("values")
        except UserError:
            refused += 1
    assert refused > 10


def test_a_file_that_is_open_for_writing_is_not_called_damaged(file):
    with h5py.File(file, "r+"):
        code = f"""
from pathlib import Path
from openretina_jax.errors import UserError
from openretina_jax.sources.session_file import open_session
try:
    open_session(Path({str(file)!r})).__enter__()
except UserError as error:
    print(error)
"""
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "session.h5: is open for writing in another program; close it there" in said


def test_a_filter_that_is_missing_is_named(file):
    with h5py.File(file, "r+") as opened:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((3, 4))
        plan.set_deflate(4)
        space = h5py.h5s.create_simple((3, 4))
        h5py.h5d.create(opened.id, b"packed", h5py.h5t.IEEE_F64LE, space, plan)
        opened["packed"][...] = VALUES
    deflate = b"\x01\x00\x08\x00\x01\x00\x01\x00deflate"
    content = file.read_bytes().replace(deflate, b"\xff\x01\x08\x00\x00\x00\x01\x00unknown")
    assert content != file.read_bytes()
    file.write_bytes(content)
    with (
        open_session(file) as session,
        pytest.raises(UserError, match=r"is compressed by unknown \(511\), which is not"),
    ):
        session.numbers("packed")
