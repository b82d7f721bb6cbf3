"""A request as the line that is sent, and what a line that came says."""

import json
from collections.abc import Mapping
from typing import Any

from rkllmd.client.problems import BadRequest
from rkllmd.errors import FACTS, Code

OURS = frozenset({"id", "op"})
"""Members that are not the caller's: by its own `id` a reply is known to be the request's."""


def request_line(number: int, op: str, members: Mapping[str, Any]) -> bytes:
    """The line of a request."""
    if taken := sorted(OURS & members.keys()):
        raise _refused(f"{taken[0]}: found among the members, allowed: any but id and op")
    text = json.dumps({"id": number, "op": op, **members}, ensure_ascii=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError as error:
        raise _refused("found a text that is no UTF-8, allowed: UTF-8") from error


def _refused(message: str) -> BadRequest:
    hint = FACTS[Code.BAD_REQUEST].next_step
    return BadRequest({"code": Code.BAD_REQUEST, "message": message, "hint": hint})


def read_event(line: bytes) -> dict[str, Any]:
    """An event; a `ValueError` where the line is none."""
    event = json.loads(line)
    if not isinstance(event, dict) or "event" not in event:
        raise ValueError("no event")
    return event
