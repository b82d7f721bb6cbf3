"""Every error that a client or an administrator can meet, by whose move is next.

The codes are a closed list and part of the protocol. An error carries its code, one sentence
for a person, and values for a program. How it looks on a wire belongs to that wire's room:
`protocol` makes JSON of it, `transport/http` a status, `cli` an exit status, each from one table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar


class Code(StrEnum):
    """What went wrong, as a word that a client can act on."""

    BAD_JSON = "bad_json"
    LINE_TOO_LONG = "line_too_long"
    UNKNOWN_OP = "unknown_op"
    BAD_REQUEST = "bad_request"
    UNSUPPORTED = "unsupported"
    CONTEXT_OVERFLOW = "context_overflow"
    CACHE_EXISTS = "cache_exists"
    PERMISSION_DENIED = "permission_denied"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_SESSION = "unknown_session"
    UNKNOWN_CACHE = "unknown_cache"
    NOT_READY = "not_ready"
    QUEUE_FULL = "queue_full"
    DEADLINE = "deadline"
    SLOW_CLIENT = "slow_client"
    SHUTTING_DOWN = "shutting_down"
    OUT_OF_MEMORY = "out_of_memory"
    LOAD_FAILED = "load_failed"
    ENGINE_ERROR = "engine_error"
    ENGINE_CRASHED = "engine_crashed"
    ENGINE_HUNG = "engine_hung"
    STORAGE_FULL = "storage_full"
    INTERNAL = "internal"


class RkllmdError(Exception):
    """The root: a code, a sentence, and the values that a program may want."""

    family: ClassVar[str] = "internal"

    def __init__(self, code: Code, message: str, /, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details: Mapping[str, Any] = details

    @property
    def retryable(self) -> bool:
        """Whether the same request can succeed later without anybody changing it."""
        return FACTS[self.code].retryable

    @property
    def next_step(self) -> str:
        """What to do now, in one sentence."""
        return FACTS[self.code].next_step


class RequestError(RkllmdError):
    """The client can change the request."""

    family = "request"


class NotFound(RkllmdError):
    """The named thing is not here."""

    family = "not_found"


class StateError(RkllmdError):
    """The request is fine, but not now."""

    family = "state"


class EngineError(RkllmdError):
    """The model's run failed; its worker lives."""

    family = "engine"


class WorkerLost(RkllmdError):
    """The worker process is gone."""

    family = "worker"


class StorageError(RkllmdError):
    """The disk said no."""

    family = "storage"


class InternalError(RkllmdError):
    """A mistake of ours; the journal has the traceback."""

    family = "internal"


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What is true of a code wherever it is raised."""

    family: type[RkllmdError]
    retryable: bool
    next_step: str


FACTS: Mapping[Code, CodeFacts] = {
    Code.BAD_JSON: CodeFacts(RequestError, False, "Send one JSON object per line, in UTF-8."),
    Code.LINE_TOO_LONG: CodeFacts(
        RequestError, False, "Send shorter lines; `hello` names the limit."
    ),
    Code.UNKNOWN_OP: CodeFacts(
        RequestError, False, "Ask `help` for the operations that there are."
    ),
    Code.BAD_REQUEST: CodeFacts(RequestError, False, "Change the member that the message names."),
    Code.UNSUPPORTED: CodeFacts(
        RequestError, False, "Leave it out, or choose a model whose capabilities have it."
    ),
    Code.CONTEXT_OVERFLOW: CodeFacts(
        RequestError, False, "Shorten the prompt, or raise the model's context."
    ),
    Code.CACHE_EXISTS: CodeFacts(RequestError, False, "Choose another name, or set `overwrite`."),
    Code.PERMISSION_DENIED: CodeFacts(RequestError, False, "Ask the administrator for access."),
    Code.UNKNOWN_MODEL: CodeFacts(
        NotFound, False, "Ask `model.list` for the models that there are."
    ),
    Code.UNKNOWN_SESSION: CodeFacts(
        NotFound, False, "Ask `session.list` for the sessions that there are."
    ),
    Code.UNKNOWN_CACHE: CodeFacts(
        NotFound, False, "Ask `cache.list` for the caches that there are."
    ),
    Code.NOT_READY: CodeFacts(
        StateError, True, "Try again when `status` says that the model is ready."
    ),
    Code.QUEUE_FULL: CodeFacts(StateError, True, "Try again after the wait that the details name."),
    Code.DEADLINE: CodeFacts(
        StateError, True, "Allow more time, or shorten what has to be prefilled."
    ),
    Code.SLOW_CLIENT: CodeFacts(StateError, True, "Read the socket while the answer is written."),
    Code.SHUTTING_DOWN: CodeFacts(StateError, True, "Connect again when the service is back."),
    Code.OUT_OF_MEMORY: CodeFacts(
        EngineError, True, "Unload another model, or choose a smaller context."
    ),
    Code.LOAD_FAILED: CodeFacts(
        EngineError, False, "See `model.show` for the reason and mend the model's folder."
    ),
    Code.ENGINE_ERROR: CodeFacts(
        EngineError, True, "Try again; the journal has what the engine said."
    ),
    Code.ENGINE_CRASHED: CodeFacts(
        WorkerLost, True, "Send the request again; the worker is being replaced."
    ),
    Code.ENGINE_HUNG: CodeFacts(
        WorkerLost, True, "Send the request again; the worker is being replaced."
    ),
    Code.STORAGE_FULL: CodeFacts(
        StorageError, True, "Free the space that the details name, then try again."
    ),
    Code.INTERNAL: CodeFacts(
        InternalError, False, "Report it with the lines of the journal around it."
    ),
}


def from_code(code: str, message: str, details: Mapping[str, Any] | None = None) -> RkllmdError:
    """The error that a code read from a wire stands for; an unknown one is `internal`."""
    known = Code(code) if code in set(Code) else Code.INTERNAL
    return FACTS[known].family(known, message, **(details or {}))
