"""Takes images and sounds out of a conversation's messages, and leaves marks in their places.

They come as embeddings, in the content of a user's message: the vision encoder, which makes them
of a picture, is not part of the daemon. What is in the files, the engine checks; here is only what
can be told from the outside.

    data    base64, from any client
    path    a file, only on the Unix socket, where it is known who asks

A path is read by the daemon, which may read more than the client: its configuration, with API keys,
say. So it is opened only where it could have been sent as well: it is a regular file that belongs
to the client or that everybody may read. The last name in it is no symbolic link. Every refusal has
the same words, so that nobody learns which files there are.

A session remembers that there was an image, not the image.
"""

import asyncio
import base64
import binascii
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rkllmd.errors import Code, RequestError
from rkllmd.operations.call import Caller
from rkllmd.protocol.messages import NO_ENCODER, EmbeddingPart, Message, TextPart
from rkllmd.runs import MARK, Media, MediaKind

BYTES_MAX = 32 << 20
"""Of all images and sounds of a request together."""

_MAGIC = b"\x93NUMPY"
_KINDS: dict[str, MediaKind] = {"image_embedding": "image", "audio_embedding": "audio"}
_REAL = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"RIFF": "a WebP picture or a WAV sound",
    b"OggS": "an Ogg sound",
    b"fLaC": "a FLAC sound",
    b"ID3": "an MP3 sound",
}


@dataclass(slots=True)
class Taken:
    """A conversation with marks in place of its images and sounds, and what they stand for."""

    messages: list[Message]
    known: dict[str, Media] = field(default_factory=dict)


async def take_media(messages: Sequence[Message], caller: Caller) -> Taken:
    """Read what the messages have beside text. Only a message that has some is another one then."""
    taken = Taken(list(messages))
    room = BYTES_MAX
    for number, message in enumerate(messages):
        if not isinstance(message.content, tuple):
            continue
        parts: list[TextPart | EmbeddingPart] = []
        for part in message.content:
            if isinstance(part, TextPart):
                parts.append(part)
                continue
            if message.role != "user":
                raise _refused(f"an {part.type} of the {message.role}", "in messages of the user")
            media = await asyncio.to_thread(_read, part, caller, room)
            room -= len(media.npy)
            taken.known[media.mark] = media
            parts.append(TextPart(media.mark))
        taken.messages[number] = replace(message, content=tuple(parts))
    return taken


def without_media(messages: Sequence[Message]) -> list[Message]:
    """What a session remembers: where something was, and no more."""
    return [_without_media(message) for message in messages]


def _without_media(message: Message) -> Message:
    if not isinstance(message.content, tuple):
        return message
    parts = [
        TextPart(MARK.sub(r"(\1)", part.text)) if isinstance(part, TextPart) else part
        for part in message.content
    ]
    return replace(message, content=tuple(parts))


def _read(part: EmbeddingPart, caller: Caller, room: int) -> Media:
    """In a thread: megabytes are decoded, read, and hashed for their mark."""
    match part:
        case EmbeddingPart(data=str(data), path=None):
            npy = _decoded(data)
        case EmbeddingPart(data=None, path=str(path)):
            npy = _content(path, caller, room)
        case _:
            raise _refused(f"an {part.type} without one of them", "`data` or `path`")
    if len(npy) > room:
        raise _refused(f"more than {BYTES_MAX} bytes of embeddings", f"{BYTES_MAX} in a request")
    for magic, name in _REAL.items():
        if npy.startswith(magic):
            raise RequestError(
                Code.UNSUPPORTED, f"messages: found {name}: {NO_ENCODER}", member="messages"
            )
    if not npy.startswith(_MAGIC):
        raise _refused(f"{len(npy)} bytes that are no .npy file", "a .npy file of float32")
    return Media.of_npy(_KINDS[part.type], npy)


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused("data that is no base64", "a .npy file of float32 in base64") from error


def _content(path: str, caller: Caller, room: int) -> bytes:
    if caller.transport != "socket" or caller.uid is None:
        raise _refused("a path", "`data`; a path only on the Unix socket")
    if not path.startswith("/"):
        raise _unreadable(path)
    try:
        with open(path, "rb", opener=_opened) as file:
            status = os.fstat(file.fileno())
            is_theirs = caller.uid in {0, status.st_uid} or status.st_mode & stat.S_IROTH
            if not (stat.S_ISREG(status.st_mode) and is_theirs):
                raise _unreadable(path)
            return file.read(room + 1)
    except (OSError, ValueError):
        raise _unreadable(path) from None


def _opened(path: str, flags: int) -> int:
    """Without following a link, and without waiting for who writes to a FIFO."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)


def _unreadable(path: str) -> RequestError:
    return _refused(
        f"the path {path!r}",
        "an absolute path of a regular file (no link) that the daemon can read and that is the"
        " client's own or readable by everybody",
    )


def _refused(found: str, allowed: str) -> RequestError:
    sentence = f"messages: found {found}, allowed: {allowed}"
    return RequestError(Code.BAD_REQUEST, sentence, member="messages", found=found, allowed=allowed)
