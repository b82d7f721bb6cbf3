"""What most commands do: ask, show how far it is, and write the end as JSON or for people."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rkllmd.cli.ctl.command import Context
from rkllmd.errors import Code, RequestError


def ask(context: Context, op: str, **members: Any) -> dict[str, Any]:
    """The final event of an operation, with progress on a terminal meanwhile."""
    reply: dict[str, Any] = {}
    for event in context.client.events(op, **members):
        if event["event"] in {"progress", "queued"}:
            context.screen.progress(event)
        reply = event
    context.screen.clear()
    return reply


def say(context: Context, reply: Mapping[str, Any], *lines: str) -> None:
    """The reply as JSON, or lines for people."""
    if context.screen.as_json:
        context.screen.json(reply)
        return
    for line in lines:
        context.screen.line(line)


def facts(context: Context, pairs: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one on each line; those without a value are left out."""
    kept = [(name, value) for name, value in pairs if value not in {None, ""}]
    width = max((len(name) for name, _ in kept), default=0)
    for name, value in kept:
        context.screen.line(f"{name:<{width}}  {value}")


def read_text(file: str | None = None) -> str:
    """What is in a file, or comes through standard input."""
    try:
        text = sys.stdin.read() if file is None else Path(file).read_text(encoding="utf-8")
        text.encode()  # standard input lets pass what is no UTF-8
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise RequestError(
            Code.BAD_REQUEST, f"cannot read {file or 'standard input'}: {reason}"
        ) from error
    return text
