"""One line in the journal for each request: who asked for what, how long it took, how it ended.

    chat uid=1000 pid=4242 model=tiny-assistant session=kitchen prompt=812 cached=790
    generated=34 queue_ms=0.1 first_ms=41.2 sentence_ms=97.4 total_ms=380.5 outcome=stop
    (on one line)

What is unknown is left out. Requests that only look are told at the level debug, since programs ask
them every few seconds; so is `cancel`, of which the cancelled request tells. What was said is
private: it is there only when `log.content` is on.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rkllmd.errors import Code, RkllmdError
from rkllmd.operations.call import Call, Reply
from rkllmd.operations.services import Services
from rkllmd.protocol import messages
from rkllmd.protocol.messages import Done, Request

journal = logging.getLogger("rkllmd.requests")

PLAIN = re.compile(r"[A-Za-z0-9._-]+")
QUIET: frozenset[type[Request]] = frozenset({
    messages.Cancel, messages.Hello, messages.Help, messages.Ping, messages.Status, messages.Watch,
    messages.ModelList, messages.ModelShow, messages.SessionList, messages.SessionShow,
    messages.CacheList, messages.CacheShow,
})  # fmt: skip


class Record:
    """How a request ends, until it has ended."""

    reply: Reply | None = None
    outcome: str = "ok"


@contextmanager
def recorded(services: Services, request: Request, call: Call) -> Iterator[Record]:
    """Write the line when the request ends, however that is."""
    record = Record()
    try:
        yield record
    except RkllmdError as error:
        record.outcome = error.code
        raise
    except BaseException:
        record.outcome = Code.INTERNAL
        raise
    finally:
        level = logging.DEBUG if type(request) in QUIET else logging.INFO
        if journal.isEnabledFor(level):
            total_ms = round((services.now() - call.arrived) * 1000, 1)
            members = _who(request, call) | _how(record, total_ms)
            if services.config.log.content:
                members |= _what(request, record.reply)
            journal.log(level, "%s %s", request.op, _written(members))


def _who(request: Request, call: Call) -> dict[str, Any]:
    caller = call.caller
    via = None if caller.transport == "socket" else caller.transport
    return {
        "uid": caller.uid,
        "pid": caller.pid,
        "via": via,
        "model": getattr(request, "model", None),
        "session": getattr(request, "session", None),
    }


def _how(record: Record, total_ms: float) -> dict[str, Any]:
    reply = record.reply
    if isinstance(reply, Done):
        return {
            "model": reply.model,
            "prompt": reply.usage.prompt_tokens,
            "cached": reply.usage.cached_tokens,
            "generated": reply.usage.completion_tokens,
            "queue_ms": round(reply.timing.queue_ms, 1),
            "first_ms": reply.timing.ttft_ms and round(reply.timing.ttft_ms, 1),
            "sentence_ms": (
                reply.timing.first_sentence_ms and round(reply.timing.first_sentence_ms, 1)
            ),
            "total_ms": total_ms,
            "outcome": reply.reason,
        }
    counted = {}
    if isinstance(reply, Mapping):
        counted = {"prompt": reply.get("prompt_tokens"), "cached": reply.get("cached_tokens")}
    return {**counted, "total_ms": total_ms, "outcome": record.outcome}


def _what(request: Request, reply: Reply | None) -> dict[str, Any]:
    asked = [getattr(request, name, None) for name in ("text", "messages", "prompt", "input")]
    return {
        "asked": next((str(one) for one in asked if one), None),
        "answered": reply.text if isinstance(reply, Done) else None,
    }


def _written(members: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name}={_value(value)}" for name, value in members.items() if value is not None
    )


def _value(value: Any) -> str:
    """Numbers and plain words as they are; everything else quoted, on one line."""
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
