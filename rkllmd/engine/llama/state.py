"""The file that keeps what a model has computed: its tokens, and llama.cpp's state of a sequence.

Format (little-endian): the header `HEADER` (magic, version, number of tokens, bytes of the state,
the identity of what made it), the tokens as int32, CRC-32 of both, then the state. Nothing follows.

The identity is a hash over the library's release, the model's file and the adapters, so a state is
taken by the model that made it and by no other. The state itself, often hundreds of megabytes, has
no sum of its own: the store that keeps the file has one.
"""

import ctypes
import hashlib
import mmap
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

from rkllmd.engine.llama.library import Library
from rkllmd.engine.state_errors import refused, unwritten
from rkllmd.errors import Code, EngineError
from rkllmd.runs import Adapter, Prompt

HEADER = struct.Struct("<8sIIQ32s")
CRC = struct.Struct("<I")
MAGIC = b"rkllmd-l"
VERSION = 1
SEQUENCE = 0
SAMPLES = 256
SAMPLE_BYTES = 4096


def identity(release: str, model: Path, adapters: Iterable[Adapter]) -> bytes:
    """What makes a model's state its own."""
    found = hashlib.sha256(release.encode())
    parts = [(model, 1.0), *((Path(adapter.path), adapter.scale) for adapter in adapters)]
    for path, scale in parts:
        size_bytes = path.stat().st_size
        found.update(f"\n{size_bytes} {scale}\n".encode())
        step = max(SAMPLE_BYTES, size_bytes // SAMPLES)
        with path.open("rb") as file:
            for place in range(0, size_bytes, step):
                found.update(os.pread(file.fileno(), SAMPLE_BYTES, place))
    return found.digest()


def write_state(path: Path, library: Library, context: int, own: bytes, held: Prompt) -> None:
    """Write what the context holds and flush it to the disk."""
    size_bytes = library.call.state_seq_get_size(context, SEQUENCE)
    state = (ctypes.c_ubyte * size_bytes)()
    if library.call.state_seq_get_data(context, state, size_bytes, SEQUENCE) != size_bytes:
        raise EngineError(Code.ENGINE_ERROR, f"The state cannot be saved: {library.complaints()}.")
    head = HEADER.pack(MAGIC, VERSION, held.units, size_bytes, own) + held.data
    try:
        with path.open("wb") as file:
            file.writelines([head, CRC.pack(zlib.crc32(head)), state])
            file.flush()
            os.fsync(file.fileno())
    except OSError as problem:
        raise unwritten(path, problem, len(head) + CRC.size + size_bytes) from problem


def read_state(
    path: Path, library: Library, context: int, own: bytes, context_tokens: int
) -> Prompt:
    """Put a file's state into the context, which holds nothing; the tokens it covers."""
    try:
        with path.open("rb") as file:
            held, start, size_bytes = checked_head(file.fileno(), own, context_tokens)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
                state = (ctypes.c_ubyte * size_bytes).from_buffer(mapped, start)
                taken = library.call.state_seq_set_data(context, state, size_bytes, SEQUENCE)
                del state  # a mapping that is looked into cannot be closed
    except OSError as problem:
        raise refused(f"{path} cannot be read ({problem.strerror})") from problem
    if taken != size_bytes:
        raise refused(f"llama.cpp does not take it ({library.complaints()})")
    return held


def checked_head(descriptor: int, own: bytes, context_tokens: int) -> tuple[Prompt, int, int]:
    """The tokens, and where the state begins and how long it is, of a file that fits."""
    head = os.pread(descriptor, HEADER.size, 0)
    if not head.startswith(MAGIC):
        raise refused("it is not a state of the llama engine")
    if len(head) < HEADER.size:
        raise refused("it is cut off in its header")
    _, version, count, state_bytes, owner = HEADER.unpack(head)
    if version != VERSION:
        raise refused(f"its version is {version}, and {VERSION} is known")
    if owner != own:
        raise refused("it was made by another model, adapter or release of llama.cpp")
    if count > context_tokens:
        raise refused(f"it has {count} tokens, and the context has {context_tokens}")
    start = HEADER.size + 4 * count + CRC.size
    size_bytes = os.fstat(descriptor).st_size
    if size_bytes != start + state_bytes:
        raise refused(f"it has {size_bytes} bytes where {start + state_bytes} are expected")
    rest = os.pread(descriptor, start - HEADER.size, HEADER.size)
    tokens, crc = rest[: -CRC.size], rest[-CRC.size :]
    if crc != CRC.pack(zlib.crc32(head + tokens)):
        raise refused("its checksum does not fit its content")
    return Prompt("tokens", tokens), start, state_bytes
