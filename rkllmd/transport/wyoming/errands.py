"""What an event asks of the daemon, and what its client is told of it. Pure.

An errand has the request for the operations, and makes events of what they say: `hear` of what
comes before the end, then `succeed` or `fail`.
"""

from collections.abc import Mapping
from typing import Any

from rkllmd.errors import RkllmdError
from rkllmd.operations.call import Reply
from rkllmd.protocol.messages import (
    Cancel,
    Chat,
    Delta,
    Event,
    ModelList,
    Prefill,
    Request,
    SessionTruncate,
)
from rkllmd.transport.wyoming.apologies import apology
from rkllmd.transport.wyoming.asked import fit
from rkllmd.transport.wyoming.frames import encode
from rkllmd.transport.wyoming.programs import info

Context = Mapping[str, Any]

DEEDS: Mapping[str, tuple[type[Prefill | Cancel | SessionTruncate], str]] = {
    "rkllmd.prefill": (Prefill, "rkllmd.prefilled"),
    "rkllmd.cancel": (Cancel, "rkllmd.cancelled"),
    "rkllmd.truncate": (SessionTruncate, "rkllmd.truncated"),
}
"""User events by their names: the operation, and the name of the reply."""


class Errand:
    """One that nobody waits for; the others are made of it."""

    def __init__(
        self, request: Request, language: str | None = None, context: Context | None = None
    ) -> None:
        self.request = request
        self.language = language
        self.context = dict(context or {})

    def hear(self, event: Event) -> bytes:
        """Told while the operation goes on."""
        return b""

    def succeed(self, reply: Reply) -> bytes:
        """Told at its end."""
        return b""

    def fail(self, error: RkllmdError) -> bytes:
        """Told when there is no answer."""
        return b""


class Description(Errand):
    """`describe`."""

    def __init__(self) -> None:
        super().__init__(ModelList())

    def succeed(self, reply: Reply) -> bytes:
        """The programs."""
        assert isinstance(reply, Mapping), "`model.list` gives values"
        return encode("info", info(reply["models"]))

    def fail(self, error: RkllmdError) -> bytes:
        """Told when there is no answer."""
        return not_handled(error)


class Answer(Errand):
    """`transcript`."""

    def __init__(self, request: Chat, context: Context | None) -> None:
        """`context` goes back with the conversation's name in it."""
        named = {**(context or {}), "conversation_id": request.session}
        super().__init__(request, request.language, named)
        self._said: list[str] = []

    def hear(self, event: Event) -> bytes:
        """A piece of the answer."""
        if not isinstance(event, Delta) or event.channel is not None:
            return b""
        start = b"" if self._said else self._start()
        self._said.append(event.text)
        return start + encode("handled-chunk", {"text": event.text})

    def succeed(self, reply: Reply) -> bytes:
        """The whole answer; of a cancelled one, what was said."""
        start = b"" if self._said else self._start()
        text = "".join(self._said).strip()
        handled = encode("handled", {"text": text, "context": self.context})
        return start + handled + encode("handled-stop")

    def fail(self, error: RkllmdError) -> bytes:
        """Told when there is no answer, or no more of it."""
        stop = encode("handled-stop") if self._said else b""
        return not_handled(error, self.language, self.context) + stop

    def _start(self) -> bytes:
        return encode("handled-start", {"context": self.context})


class Deed(Errand):
    """`user-event`."""

    def __init__(
        self, name: str, data: Mapping[str, Any] | None, session: str | None, context: Context
    ) -> None:
        """A session of None is for a cancel of everything of this connection."""
        kind, self._reply_name = DEEDS[name]
        whose = {"all": True} if session is None else {"session": session}
        super().__init__(fit(kind, {**(data or {}), **whose}, name), context=context)

    def succeed(self, reply: Reply) -> bytes:
        """What the operation said."""
        data = dict(reply) if isinstance(reply, Mapping) else {}
        told = {"name": self._reply_name, "data": data, "context": self.context}
        return encode("user-event", told)

    def fail(self, error: RkllmdError) -> bytes:
        """Told when it could not be done."""
        return not_handled(error, context=self.context)


def not_handled(
    error: RkllmdError, language: str | None = None, context: Context | None = None
) -> bytes:
    """A sentence for the voice, and for programs what went wrong."""
    told = {
        "text": apology(error.code, language),
        "code": error.code,
        "message": error.message,
        **({"context": context} if context else {}),
    }
    return encode("not-handled", told)
