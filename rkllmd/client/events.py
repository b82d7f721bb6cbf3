"""What arrives, as the dataclasses of `protocol.messages` in place of dictionaries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rkllmd.protocol.codec import EVENTS
from rkllmd.protocol.messages import Event
from rkllmd.shape import read

ENVELOPE = frozenset({"id", "event", "final"})


@dataclass(frozen=True, slots=True)
class Ok:
    """The end of a request that gives values."""

    values: Mapping[str, Any]


def typed(reply: Mapping[str, Any]) -> Event | Ok:
    """An event as a dataclass; `ok` and what a newer daemon may say as `Ok`.

    The text of a `done` that was too long for a line is empty; the deltas have it.
    """
    members = {name: value for name, value in reply.items() if name not in ENVELOPE}
    kind = EVENTS.get(str(reply.get("event")))
    if kind is None:
        return Ok(members)
    if members.pop("truncated", False):
        members["text"] = ""
    event: Event = read(kind, members, ignore_unknown=True)
    return event
