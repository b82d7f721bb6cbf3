"""Names and numbers that must not be mistaken for each other."""

import re
from typing import NewType

ModelName = NewType("ModelName", str)
"""A folder's name below the models folder."""

CacheName = NewType("CacheName", str)
"""The name of a prompt, and of the cache entry made from it."""

LEARNED = "learned-"
"""What names of caches begin with that nobody asked for; nobody else's may."""

SessionName = NewType("SessionName", str)
"""Any string that a client chose for a conversation."""

ConnectionId = NewType("ConnectionId", int)
"""One client connection of this daemon's life."""

TicketId = NewType("TicketId", int)
"""One wish for a turn on a worker."""

NAME_RULE = "1 to 64 characters from A-Z a-z 0-9 . _ -, the first one no dot"

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", re.ASCII)


def is_name(text: str) -> bool:
    """Whether a text may name a model or a cache, and so a file below our folders."""
    return _NAME.fullmatch(text) is not None
