"""Mutated files of every kind that is read: no crash, no hang, no traceback, and never other numbers.

    python -m benchmarks.fuzz [--count=10000] [--kinds=pickle,ckpt,npy,hdf5,exported,saved] [--seed=0]

Every kind is read in a process of its own, so that a crash is counted and not the end. A reader may give a value, or
raise one ``UserError`` of one line; anything else is printed with the seed that makes the file again. A saved model
must be refused, or have the numbers that were saved: its hashes notice every flipped bit.
"""

import argparse
import contextlib
import faulthandler
import io
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

from openretina_jax.errors import UserError

KINDS = ("pickle", "ckpt", "npy", "hdf5", "exported", "saved")
LONGEST_S = 20  # that a file may take


def main() -> None:
    """Read the flags, and print a table; exit status 1 if a reader has failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", help="the one kind that this process reads")
    flags = parser.parse_args()
    if flags.child:
        read_mutations(flags.child, flags.count, flags.seed)
        return
    failed = False
    print(f"{'kind':<10}{'files':>8}{'read':>8}{'refused':>9}{'failed':>8}")
    for kind in flags.kinds.split(","):
        counts = in_a_process(kind, flags.count, flags.seed)
        print(f"{kind:<10}{sum(counts.values()):>8}{counts['read']:>8}{counts['refused']:>9}{counts['failed']:>8}")
        failed |= counts["failed"] > 0
    sys.exit(failed)


def in_a_process(kind: str, count: int, seed: int) -> Counter[str]:
    """Outcomes of a kind; a file at which the process dies or hangs is a failure, and another process goes on."""
    counts: Counter[str] = Counter()
    while (done := sum(counts.values())) < count:
        which = (f"--child={kind}", f"--count={count - done}", f"--seed={seed + done}")
        child = subprocess.run([sys.executable, "-m", "benchmarks.fuzz", *which], stdout=subprocess.PIPE, text=True)
        counts += Counter(child.stdout.split())
        if child.returncode:
            number = seed + sum(counts.values())
            print(f"{kind}, seed {number}: the process ended with {child.returncode}", file=sys.stderr)
            counts["failed"] += 1
    return counts


def read_mutations(kind: str, count: int, seed: int) -> None:
    """Read mutations of a sample, and print the outcome of each: read, refused, or failed."""
    with tempfile.TemporaryDirectory() as place:
        sample, read = SAMPLES[kind](Path(place))
        for number in range(seed, seed + count):
            faulthandler.dump_traceback_later(LONGEST_S, exit=True)  # also out of a library's own code
            try:
                with mutated(sample, random.Random(f"{kind} {number}")) as path:
                    read(path)
                outcome = "read"
            except UserError as error:
                outcome = "refused" if "\n" not in str(error) else "failed"
            except Exception as error:
                outcome = "failed"
                text = " ".join(str(error).split())[:200]
                print(f"{kind}, seed {number}: {type(error).__name__}: {text}", file=sys.stderr)
            print(outcome, flush=True)
    faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def mutated(sample: Path, rng: random.Random) -> Iterator[Path]:
    """A copy of a file, or of a folder with one of its files changed, for a block."""
    copy = sample.with_name(f"mutated_{sample.name}")
    if sample.is_dir():
        shutil.copytree(sample, copy)
        target = rng.choice(sorted(file for file in copy.rglob("*") if file.is_file() and file.stat().st_size))
    else:
        shutil.copyfile(sample, copy)
        target = copy
    target.write_bytes(mutation(target.read_bytes(), rng))
    try:
        yield copy
    finally:
        if copy.is_dir():
            shutil.rmtree(copy)
        else:
            copy.unlink()


def mutation(content: bytes, rng: random.Random) -> bytes:
    """Flip bits, replace, insert, repeat or cut bytes; a zip archive that is stored is changed within a member."""
    if content[:2] == b"PK" and rng.random() < 0.8:
        return in_member(content, rng)
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        place, kind = rng.randrange(len(changed) + 1), rng.randrange(6)
        if kind == 0 and place < len(changed):
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1 and place < len(changed):
            changed[place] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif kind == 2:
            changed[place:place] = rng.randbytes(rng.choice((1, 4, 8)))
        elif kind == 3:
            del changed[place : place + rng.choice((1, 4, 100))]
        elif kind == 4:
            changed[place:place] = changed[: rng.randrange(64)]
        elif rng.random() < 0.2:
            del changed[place:]
        if not changed:
            return b""
    return bytes(changed)


def in_member(content: bytes, rng: random.Random) -> bytes:
    """Change one member of an archive, whose checksums stay right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(member, archive.read(member)) for member in archive.infolist()]
    chosen = rng.randrange(len(members))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number, (member, inner) in enumerate(members):
            changed = mutation(inner, rng) if number == chosen and inner and inner[:2] != b"PK" else inner
            archive.writestr(member, changed)
    return made.getvalue()


Sample = tuple[Path, Callable[[Path], object]]


def of_pickle(place: Path) -> Sample:
    """Pickles of arrays and containers."""
    from openretina_jax.runtime.pickles import load_plain_pickle

    values = {
        "train": np.arange(48, dtype=np.float32).reshape(2, 4, 3, 2),
        "words": np.array(["green", "UV"]),
        "orders": np.arange(6).reshape(3, 2),
        "movie_stats": {"dichromatic": {"mean": np.float64(1.5), "sd": 2.0}},
        "more": [{1, 2}, frozenset({3}), (4, [5.0, None, True, 1j]), b"bytes"],
    }
    (place / "sample.pkl").write_bytes(pickle.dumps(values))
    return place / "sample.pkl", load_plain_pickle


def of_ckpt(place: Path) -> Sample:
    """Checkpoints of openretina."""
    from openretina_jax.interop.torch_files import read_lightning_checkpoint

    golden = Path(__file__).parent.parent / "tests" / "goldens" / "checkpoints" / "lnp.ckpt"
    shutil.copyfile(golden, place / "sample.ckpt")

    def read(path: Path) -> None:
        for array in read_lightning_checkpoint(path).state.values():
            array.tobytes()  # every number lies in the file

    return place / "sample.ckpt", read


def of_npy(place: Path) -> Sample:
    """Movies."""
    from openretina_jax.runtime.files import read_npy

    np.save(place / "sample.npy", np.arange(120, dtype=np.float32).reshape(1, 5, 6, 4))
    return place / "sample.npy", lambda path: read_npy(path, "channel time height width", remedy="r").sum()


def of_hdf5(place: Path) -> Sample:
    """Sessions."""
    from openretina_jax.sources.session_file import open_session

    with h5py.File(place / "sample.h5", "w") as file:
        file["responses_a"] = np.random.default_rng(0).random((3, 60)).astype(np.float32)
        file.create_dataset("responses_b", data=np.zeros((3, 60)), compression="gzip")
        file["session_info/name"] = np.array([b"a", b"b", b"c"])
        file.attrs["eye"] = "left"

    def read(path: Path) -> None:
        with open_session(path) as session:
            for name in session.names():
                if name.startswith("responses_"):
                    session.responses(name, signed=True)
            session.names("session_info")
            session.values("eye")

    return place / "sample.h5", read


def _model() -> object:
    from openretina_jax.data import ArrayRecording, from_arrays
    from openretina_jax.models.build import make_model

    rng = np.random.default_rng(0)
    recording = ArrayRecording(rng.integers(0, 255, (200, 6, 6)).astype(np.uint8), rng.random((200, 2)))
    options = {"core": {"kind": "identity", "cut_first_frames": 2}, "readout": {"kind": "lnp"}}
    return make_model(options, from_arrays({"a": recording}, frame_rate_hz=30.0).info)


def of_exported(place: Path) -> Sample:
    """Exported programs."""
    import openretina_jax

    openretina_jax.export(_model(), place / "sample.zip")  # type: ignore[arg-type]
    return place / "sample.zip", openretina_jax.load_exported


def of_saved(place: Path) -> Sample:
    """Saved models."""
    from flax import nnx

    import openretina_jax
    from openretina_jax.models.saving import by_name, load_model, sha256_of_arrays

    openretina_jax.save(model := _model(), place / "sample")  # type: ignore[arg-type]
    wanted = sha256_of_arrays(by_name(nnx.state(model)))

    def read(path: Path) -> None:
        if sha256_of_arrays(by_name(nnx.state(load_model(path)))) != wanted:
            raise ValueError("it has other numbers than were saved")

    return place / "sample", read


SAMPLES: dict[str, Callable[[Path], Sample]] = {
    "pickle": of_pickle,
    "ckpt": of_ckpt,
    "npy": of_npy,
    "hdf5": of_hdf5,
    "exported": of_exported,
    "saved": of_saved,
}


if __name__ == "__main__":
    main()
