"""Writes small GGUF files: version 3, metadata and tensors as F32, F16 or Q8_0.

It writes what it is given, right or wrong, so that tests can make damaged files with it too.
"""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ALIGNMENT_BYTES = 32
F32, F16, Q8_0 = 0, 1, 8
TYPES = {"F32": F32, "F16": F16, "Q8_0": Q8_0}
Floats = npt.NDArray[np.float32]


def text(value: str) -> bytes:
    """A length and the text."""
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def typed(value: Any) -> bytes:
    """A metadata value with its type: bool, u32, f32, str, or a list of str or i32."""
    match value:
        case bool():
            return struct.pack("<I?", 7, value)
        case int():
            return struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + text(value)
        case [str(), *_]:
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        case _:
            return struct.pack(f"<IIQ{len(value)}i", 9, 5, len(value), *value)


def encoded(values: Floats, kind: int) -> bytes:
    """A tensor's numbers in one of the three types."""
    if kind == Q8_0:
        blocks = values.reshape(-1, 32)
        scales = (np.abs(blocks).max(axis=1, keepdims=True) / 127).astype("<f2")
        divisors = np.where(scales == 0, 1, scales).astype(np.float32)
        numbers = np.clip(np.rint(blocks / divisors), -127, 127).astype(np.int8)
        return b"".join(s.tobytes() + n.tobytes() for s, n in zip(scales, numbers, strict=True))
    return values.astype("<f4" if kind == F32 else "<f2").tobytes()


def padded(data: bytes) -> bytes:
    """With zeros up to the alignment."""
    return data + bytes(-len(data) % ALIGNMENT_BYTES)


def gguf(metadata: Mapping[str, Any], tensors: Mapping[str, Floats], kind: int = F32) -> bytes:
    """A whole file; tensors with one dimension are F32 in every file."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    head += b"".join(text(key) + typed(value) for key, value in metadata.items())
    data = b""
    for name, values in tensors.items():
        own = F32 if values.ndim == 1 else kind
        sizes = values.shape[::-1]
        head += text(name)
        head += struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, own, len(data))
        data += padded(encoded(values, own))
    return padded(head) + data


def write_gguf(
    path: Path, metadata: Mapping[str, Any], tensors: Mapping[str, Floats], kind: int = F32
) -> None:
    """The same, into a file."""
    path.write_bytes(gguf(metadata, tensors, kind))
