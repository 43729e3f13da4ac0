"""Masks of regions of interest as short text, since checkpoints are JSON: one of 64 x 64 pixels has 500 characters."""

import base64
import zlib

import numpy as np
from jaxtyping import Int32

_PIXEL = np.dtype("<i4")


def pack(mask: Int32[np.ndarray, "row column"]) -> str:
    """Turn a mask into text: its size, and its pixels compressed by zlib, in base64."""
    rows, columns = mask.shape
    return f"{rows}x{columns}:{base64.b64encode(zlib.compress(mask.astype(_PIXEL).tobytes())).decode('ascii')}"


def unpack(text: str) -> Int32[np.ndarray, "row column"]:
    """Read what ``pack`` wrote."""
    size, _, pixels = text.partition(":")
    rows, columns = map(int, size.split("x"))
    values = np.frombuffer(zlib.decompress(base64.b64decode(pixels)), _PIXEL)
    return values.reshape(rows, columns).astype(np.int32)
