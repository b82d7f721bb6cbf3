"""The file that keeps what a model has computed: tokens, and their keys and values.

Format (little-endian): the header `HEADER` (magic, version, number of tokens, numbers in the cache
per token, the model's identity, CRC-32 of the body), CRC-32 of the header, then the body: tokens
as int32, keys and values as float32, each layer by layer and head by head. Nothing follows.

The identity is a hash over the model's sizes and samples of every weight, so a state is taken by
the model that made it and by no other, whatever the files are called. A file that is cut off,
changed, of another model or longer than the context is refused with a sentence; nothing is
allocated before its length is known to fit.
"""

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rkllmd.engine.state_errors import refused, unwritten
from rkllmd.engine.tiny.gguf import Floats
from rkllmd.engine.tiny.transformer import Transformer

HEADER = struct.Struct("<8sIII32sI")
MAGIC = b"rkllmd-t"
VERSION = 1
SAMPLES_PER_WEIGHT = 4096


def identity(model: Transformer) -> bytes:
    """What makes a model's state its own."""
    found = hashlib.sha256(model.shape.words())
    for weight in weights(model):
        flat = weight.reshape(-1)
        found.update(flat[:: -(-flat.size // SAMPLES_PER_WEIGHT)].tobytes())
    return found.digest()


def weights(model: Transformer) -> Iterator[Floats]:
    """All that was learned, in a fixed order."""
    for layer in model.layers:
        yield from vars(layer).values()
    yield from (model.norm, model.embedding, model.head, model.turns.view(np.float32))


def write_state(path: Path, model: Transformer, own: bytes, tokens: Sequence[int]) -> None:
    """Write the state of these first tokens."""
    parts = [part.data for part in (np.asarray(tokens, "<i4"), *places(model, len(tokens)))]
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    header = HEADER.pack(MAGIC, VERSION, len(tokens), model.shape.cached_numbers, own, crc)
    try:
        with path.open("wb") as file:
            file.writelines([header, struct.pack("<I", zlib.crc32(header)), *parts])
    except OSError as problem:
        size_bytes = len(header) + 4 + sum(part.nbytes for part in parts)
        raise unwritten(path, problem, size_bytes) from problem


def read_state(path: Path, model: Transformer, own: bytes, context_tokens: int) -> list[int]:
    """Put a file's keys and values into the model; its tokens.

    They are read to where they belong and checked there, since a copy of them costs more than the
    reading. After an error there are zeros in their place.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEADER.size + 4)
            size_bytes = os.fstat(file.fileno()).st_size
            count, wanted_crc = checked_header(head, size_bytes, model, own, context_tokens)
            tokens, numbers = np.zeros(count, "<i4"), places(model, count)
            crc = 0
            for part in (tokens, *numbers):
                file.readinto(part.data)
                crc = zlib.crc32(part.data, crc)
    except OSError as error:
        raise refused(f"{path} cannot be read ({error.strerror})") from error
    problem = ""
    if crc != wanted_crc:
        problem = "its checksum does not fit its content"
    elif not ((tokens >= 0) & (tokens < model.shape.vocabulary)).all():
        problem = "it has tokens that the model has not"
    elif not all(np.isfinite(part).all() for part in numbers):
        problem = "it holds numbers that are not finite"
    if problem:
        for part in numbers:
            part[:] = 0
        raise refused(problem)
    return list(tokens.tolist())


def places(model: Transformer, count: int) -> list[Floats]:
    """Where keys and values of the first tokens are, in the order of the file."""
    layers, heads = range(model.shape.layers), range(model.shape.kv_heads)
    kinds = (model.keys, model.values)
    return [kind[layer, head, :count] for kind in kinds for layer in layers for head in heads]


def checked_header(
    head: bytes, size_bytes: int, model: Transformer, own: bytes, context_tokens: int
) -> tuple[int, int]:
    """The number of tokens and the body's checksum, of a file that fits this model."""
    if not head.startswith(MAGIC):
        raise refused("it is not a state of the tiny engine")
    if len(head) < HEADER.size + 4:
        raise refused("it is cut off in its header")
    _, version, count, numbers, owner, crc = HEADER.unpack(head[:-4])
    if head[-4:] != struct.pack("<I", zlib.crc32(head[:-4])):
        raise refused("the checksum of its header does not fit")
    if version != VERSION:
        raise refused(f"its version is {version}, and {VERSION} is known")
    if owner != own or numbers != model.shape.cached_numbers:
        raise refused("it was made by another model")
    if count > context_tokens:
        raise refused(f"it has {count} tokens, and the context has {context_tokens}")
    wanted = len(head) + count * (4 + 4 * numbers)
    if size_bytes != wanted:
        raise refused(f"it has {size_bytes} bytes where {wanted} are expected")
    return count, crc
