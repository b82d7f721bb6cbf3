"""The head of the runtime's prompt-cache files, by which a torn file is told before it is loaded.

    bytes 0 to 7    two words; 43 and unknown in 1.2.3, 0 and 8 in 1.3.1
    bytes 8 to 11   the number of tokens
    from 12 on      that many token ids, int32
    then            keys and values, and a footer of 16 bytes

All words are little-endian. The layout was found by others, by looking at files of 1.2.3 and 1.3.1;
it is used for nothing but this check.
"""

import struct
from pathlib import Path

from rkllmd.errors import Code, EngineError

HEAD = struct.Struct("<8xI")
TOKEN_BYTES = 4
FOOTER_BYTES = 16


def count_tokens(path: Path) -> int:
    """How many tokens a state file holds; an `EngineError` where it cannot be whole."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD.size)
        size = path.stat().st_size
    except OSError as error:
        raise EngineError(
            Code.ENGINE_ERROR, f"The state file {path} cannot be read: {error.strerror}."
        ) from error
    if len(head) < HEAD.size:
        raise EngineError(Code.ENGINE_ERROR, f"The state file {path} is empty or cut off.")
    (tokens,) = HEAD.unpack(head)
    if tokens == 0 or size < HEAD.size + tokens * TOKEN_BYTES + FOOTER_BYTES:
        raise EngineError(
            Code.ENGINE_ERROR,
            f"The state file {path} says it holds {tokens} tokens but has {size} bytes.",
        )
    return int(tokens)
