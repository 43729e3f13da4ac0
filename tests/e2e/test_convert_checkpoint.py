"""scripts/convert_checkpoint.py as a user runs it."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import openretina_jax
from tests.interop.frozen import FOLDER, check, path_of
from tests.scripts import ROOT, call, mistake, printed, start, wait

SCRIPT = "convert_checkpoint.py"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """The server keeps quiet."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The frozen checkpoints on a server."""
    handler = functools.partial(Quiet, directory=str(FOLDER))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_from_an_address_to_a_folder_and_back(server: str, tmp_path: Path) -> None:
    flags = (f"--checkpoint={server}/lnp.ckpt", f"--folder={tmp_path / 'lnp'}")
    done = wait(start(SCRIPT, *flags, cache=tmp_path / "cache"))
    assert done.returncode == 0
    assert "100%" in done.stderr  # of the download
    assert done.stdout.splitlines()[-2:] == ["5 neurons in 2 sessions", str(tmp_path / "lnp")]
    check("lnp", openretina_jax.load(tmp_path / "lnp"))
    back = (f"--checkpoint={tmp_path / 'lnp'}", f"--out={tmp_path / 'lnp.npz'}")
    printed(call(SCRIPT, *back, cache=tmp_path / "cache"))
    with np.load(tmp_path / "lnp.npz") as arrays:
        assert "readout.left_a.inner_product_kernel.weight" in arrays.files


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([f"--checkpoint={path_of('lnp')}"], "give --folder, --out, --program or --stream"),
        ([f"--checkpoint={path_of('lnp')}", "--folder=x", "--arguments=in_shape"], 'must be JSON like {"name": value}'),
        ([f"--checkpoint={path_of('lnp_cell')}", "--folder=x"], "does not say in_shape"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    assert message in mistake(call(SCRIPT, *arguments, cache=tmp_path / "cache"))
    assert not (ROOT / "x").exists()
