"""A body's bytes become a typed value, within bounds of size and time.

JSON is read as strictly as on the socket (`protocol.strictjson`) and taken as generously: unknown
members are ignored and null is absent, whatever `Content-Type` says, because `curl -d` says that
it sends a form.
"""

import asyncio
from typing import Any, TypeVar

from aiohttp import web

from rkllmd.errors import Code, RequestError, StateError
from rkllmd.protocol import strictjson
from rkllmd.shape import ShapeError, read

T = TypeVar("T")


async def read_body(request: web.BaseRequest, bytes_max: int, seconds: float) -> bytes:
    """The whole body. Raises ConnectionError when the client is gone."""
    if (request.content_length or 0) > bytes_max:
        raise _too_large(bytes_max)
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise RequestError(
            Code.UNSUPPORTED,
            f"Content-Encoding: found {encoding[:60]!r}, allowed: none; send the body as it is",
        )
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > bytes_max:
                    raise _too_large(bytes_max)
    except TimeoutError:
        raise StateError(Code.SLOW_CLIENT, f"the body was not there within {seconds:g} s") from None
    except web.RequestPayloadError as error:
        raise RequestError(Code.BAD_REQUEST, f"the body cannot be read: {error}") from None
    return bytes(body)


def parse(shape: type[T], body: bytes) -> T:
    """The body of this shape."""
    return fit(shape, parse_json(body))


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object in a body."""
    try:
        found = strictjson.members(strictjson.decode(body))
        return {name: value for name, value, _ in found}
    except strictjson.Refused as problem:
        raise RequestError(Code.BAD_JSON, f"the body is refused: {problem}") from None


def parse_text(body: bytes) -> str:
    """The words in a body that is plain text."""
    try:
        text = strictjson.decode(body)
    except strictjson.Refused as problem:
        raise RequestError(Code.BAD_REQUEST, f"the body is refused: {problem}") from None
    if "\0" in text:
        raise RequestError(Code.BAD_REQUEST, "the body is refused: it has the character NUL")
    return text.strip()


def fit(shape: type[T], data: dict[str, Any]) -> T:
    """Plain data in this shape."""
    try:
        return read(shape, data, ignore_unknown=True, null_is_absent=True)
    except ShapeError as error:
        raise RequestError(Code.BAD_REQUEST, str(error), member=error.where) from None


def _too_large(bytes_max: int) -> RequestError:
    return RequestError(
        Code.LINE_TOO_LONG, f"the body has more than {bytes_max} bytes", limit=bytes_max
    )
