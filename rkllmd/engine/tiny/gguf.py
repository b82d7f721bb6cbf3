"""Reads a GGUF file: its metadata and its tensors, believing nothing that it says of itself.

Format (little-endian, versions 2 and 3): `GGUF`, version u32, tensors u64, metadata entries u64;
the entries as key, type u32, value; for each tensor its name, number of sizes u32, sizes u64 with
the fastest first, type u32, offset u64; padding to `general.alignment`; then the tensors' data at
their offsets. A string is a u64 length and its UTF-8 bytes; an array is a type, a u64 count and
the values.

Every count and length is compared with the bytes that are left before anything is made from it, so
a damaged file costs no more memory than it has bytes, times a small factor. The file is mapped
while it is read and not any longer; `tensor` gives a copy in float32.
"""

import math
import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rkllmd.errors import Code, EngineError

Floats = npt.NDArray[np.float32]

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT_BYTES = 32
DIMENSIONS_MAX = 4
SENTENCE_CHARACTERS_MAX = 300
ENTRY_BYTES_MIN = 8 + 4 + 1
TENSOR_BYTES_MIN = 8 + 4 + 8 + 4 + 8
STRING_TYPE, ARRAY_TYPE = 8, 9
SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i",
    6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a tensor's numbers lie in the file: blocks of so many numbers in so many bytes."""

    name: str
    numbers: int
    bytes: int


ENCODINGS = {0: Encoding("F32", 1, 4), 1: Encoding("F16", 1, 2), 8: Encoding("Q8_0", 32, 34)}
Q8_0_BLOCK = np.dtype([("scale", "<f2"), ("numbers", "i1", 32)])


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where a tensor lies. `shape` has the slowest size first, as numpy has it."""

    name: str
    shape: tuple[int, ...]
    encoding: Encoding
    start: int
    size_bytes: int


def damaged(sentence: str) -> EngineError:
    """The error for a file that cannot be what it should be."""
    shown = sentence[:SENTENCE_CHARACTERS_MAX]
    return EngineError(Code.LOAD_FAILED, f"The model file cannot be used: {shown}.")


class GgufFile:
    """An open file; made by `open_gguf`."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.metadata, self.tensors = read_head(data)

    def get(self, key: str, kind: type[V], default: V | None = None) -> V:
        """A metadata value; an integer is taken for a float."""
        value = self.metadata.get(key, default)
        if value is None:
            raise damaged(f"its metadata has no {key}")
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise damaged(f"{key} is {type(value).__name__} and has to be {kind.__name__}")
        return value

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number between two bounds, both allowed."""
        value = self.get(key, int, default)
        if not low <= value <= high:
            raise damaged(f"{key} is {value} and has to be between {low} and {high}")
        return value

    def tensor(self, name: str, *shape: int) -> Floats:
        """A tensor's numbers, of exactly this shape."""
        entry = self.tensors.get(name)
        if entry is None:
            raise damaged(f"the tensor {name} is missing")
        if entry.shape != shape:
            raise damaged(f"the tensor {name} has the shape {entry.shape} and needs {shape}")
        values = decoded(self._data[entry.start : entry.start + entry.size_bytes], entry.encoding)
        if not np.isfinite(values).all():
            raise damaged(f"the tensor {name} holds numbers that are not finite")
        return values.reshape(shape)


@contextmanager
def open_gguf(path: Path) -> Iterator[GgufFile]:
    """Map a model file for as long as it is read."""
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as problem:  # an empty file cannot be mapped
        raise damaged(f"{path} cannot be read ({problem})") from problem
    with mapped, memoryview(mapped) as data:
        yield GgufFile(data)


def decoded(data: memoryview, encoding: Encoding) -> Floats:
    """A tensor's bytes as float32, never a view of them."""
    if encoding.name == "Q8_0":
        blocks = np.frombuffer(data, Q8_0_BLOCK)
        with np.errstate(invalid="ignore"):  # what is not finite is found by the caller
            return (blocks["numbers"] * blocks["scale"].astype(np.float32)[:, None]).ravel()
    kind = "<f4" if encoding.name == "F32" else "<f2"
    with np.errstate(invalid="ignore"):
        return np.frombuffer(data, kind).astype(np.float32)


def read_head(data: memoryview) -> tuple[dict[str, Any], dict[str, TensorEntry]]:
    """Everything in front of the tensors' numbers."""
    cursor = Cursor(data)
    if cursor.take(4, "its magic") != MAGIC:
        raise damaged("it does not begin with GGUF")
    version = cursor.scalar("<I")
    if version not in VERSIONS:
        raise damaged(f"its GGUF version is {version}; known are {VERSIONS}")
    tensor_count, entry_count = cursor.scalar("<Q"), cursor.scalar("<Q")
    cursor.expect(entry_count, ENTRY_BYTES_MIN, "metadata entries")
    metadata = {}
    for _ in range(entry_count):
        key = cursor.string("a metadata key")
        if key in metadata:
            raise damaged(f"the metadata key {key} stands in it twice")
        metadata[key] = cursor.value(key, cursor.scalar("<I"))
    cursor.expect(tensor_count, TENSOR_BYTES_MIN, "tensors")
    entries = [cursor.tensor_entry() for _ in range(tensor_count)]
    return metadata, placed(entries, cursor.position, alignment(metadata), len(data))


def alignment(metadata: Mapping[str, Any]) -> int:
    """What the tensors' places are multiples of."""
    value = metadata.get("general.alignment", ALIGNMENT_BYTES)
    if type(value) is not int or not 8 <= value <= 1 << 16 or value & (value - 1):
        raise damaged(
            f"general.alignment is {value!r} and has to be a power of two from 8 to 65536"
        )
    return value


def placed(
    entries: list[TensorEntry], head_end: int, alignment_bytes: int, file_bytes: int
) -> dict[str, TensorEntry]:
    """The tensors by name with their places in the file, none outside of it or over another."""
    base = -(-head_end // alignment_bytes) * alignment_bytes
    found: dict[str, TensorEntry] = {}
    end = 0
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.size_bytes)):
        if entry.name in found:
            raise damaged(f"the tensor {entry.name} stands in it twice")
        if entry.start % alignment_bytes:
            raise damaged(f"the tensor {entry.name} is not aligned to {alignment_bytes} bytes")
        if entry.start < end:
            raise damaged(f"the tensor {entry.name} lies over another one")
        end = entry.start + entry.size_bytes
        if base + end > file_bytes:
            raise damaged(f"the tensor {entry.name} ends behind the file's end; it may be cut off")
        found[entry.name] = TensorEntry(
            entry.name, entry.shape, entry.encoding, base + entry.start, entry.size_bytes
        )
    return found


class Cursor:
    """Walks through the head of a file and never past its end."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.position = 0

    def take(self, count: int, what: str) -> bytes:
        """The next bytes."""
        self.expect(count, 1, f"bytes of {what}")
        self.position += count
        return bytes(self._data[self.position - count : self.position])

    def expect(self, count: int, size_bytes: int, what: str) -> None:
        """Refuse a count for which the rest of the file is too short."""
        left = len(self._data) - self.position
        if count * size_bytes > left:
            raise damaged(
                f"it ends too early: {count} {what} do not fit into its last {left} bytes"
            )

    def scalar(self, form: str) -> Any:
        """One number or truth value."""
        return struct.unpack(form, self.take(struct.calcsize(form), "a number"))[0]

    def string(self, what: str) -> str:
        """A length and a text."""
        try:
            return self.take(self.scalar("<Q"), what).decode()
        except UnicodeDecodeError as problem:
            raise damaged(f"{what} is not UTF-8") from problem

    def value(self, key: str, kind: int) -> Any:
        """A metadata value: a scalar, a string, a list of strings or an array of numbers."""
        if kind in SCALARS:
            return self.scalar(SCALARS[kind])
        if kind == STRING_TYPE:
            return self.string(key)
        if kind != ARRAY_TYPE:
            raise damaged(f"the value of {key} has the unknown type {kind}")
        return self._array(key, self.scalar("<I"), self.scalar("<Q"))

    def _array(self, key: str, kind: int, count: int) -> Any:
        if kind == STRING_TYPE:
            self.expect(count, 8, f"texts of {key}")
            return [self.string(key) for _ in range(count)]
        if kind not in SCALARS:
            raise damaged(f"{key} is an array of the type {kind}, which is not understood")
        form = np.dtype(SCALARS[kind])
        self.expect(count, form.itemsize, f"numbers of {key}")
        return np.frombuffer(self.take(count * form.itemsize, key), form)

    def tensor_entry(self) -> TensorEntry:
        """A tensor's description; its place is still relative."""
        name = self.string("a tensor's name")
        dimensions = self.scalar("<I")
        if not 1 <= dimensions <= DIMENSIONS_MAX:
            raise damaged(f"the tensor {name} has {dimensions} dimensions")
        sizes = [self.scalar("<Q") for _ in range(dimensions)]
        kind, start = self.scalar("<I"), self.scalar("<Q")
        encoding = ENCODINGS.get(kind)
        if encoding is None:
            known = ", ".join(known.name for known in ENCODINGS.values())
            raise damaged(f"the tensor {name} has the type {kind}; the tiny engine reads {known}")
        if 0 in sizes or sizes[0] % encoding.numbers:
            raise damaged(f"the tensor {name} cannot have the sizes {sizes} as {encoding.name}")
        size_bytes = math.prod(sizes) // encoding.numbers * encoding.bytes
        return TensorEntry(name, tuple(reversed(sizes)), encoding, start, size_bytes)
