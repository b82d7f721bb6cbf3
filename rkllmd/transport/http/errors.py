"""What an error looks like over HTTP: the one table from codes to statuses and names.

The body is OpenAI's, `{"error": {"message", "type", "code", "param"}}`, everywhere but under
`/api/`, where it is Ollama's, `{"error": "…"}`, and `/ask`, where it is a sentence.

Client libraries send a request again when they meet a 5xx, and one utterance would become three.
So every error says `x-should-retry: false`; whoever may come again is told when by `Retry-After`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rkllmd.errors import Code, RkllmdError

RETRY_SECONDS = 1
RETRY_SECONDS_MAX = 60


@dataclass(frozen=True, slots=True)
class Look:
    """A code as HTTP clients see it."""

    status: int
    code: str = ""
    """Where OpenAI has a name of its own for it."""


LOOKS: Mapping[Code, Look] = {
    Code.BAD_JSON: Look(400),
    Code.LINE_TOO_LONG: Look(413, "body_too_large"),
    Code.UNKNOWN_OP: Look(404, "unknown_endpoint"),
    Code.BAD_REQUEST: Look(400),
    Code.UNSUPPORTED: Look(400),
    Code.CONTEXT_OVERFLOW: Look(400, "context_length_exceeded"),
    Code.CACHE_EXISTS: Look(409),
    Code.PERMISSION_DENIED: Look(403),
    Code.UNKNOWN_MODEL: Look(404, "model_not_found"),
    Code.UNKNOWN_SESSION: Look(404),
    Code.UNKNOWN_CACHE: Look(404),
    Code.NOT_READY: Look(503),
    Code.QUEUE_FULL: Look(503),
    Code.DEADLINE: Look(408),
    Code.SLOW_CLIENT: Look(408),
    Code.SHUTTING_DOWN: Look(503),
    Code.OUT_OF_MEMORY: Look(503),
    Code.LOAD_FAILED: Look(500),
    Code.ENGINE_ERROR: Look(500),
    Code.ENGINE_CRASHED: Look(500),
    Code.ENGINE_HUNG: Look(500),
    Code.STORAGE_FULL: Look(507),
    Code.INTERNAL: Look(500),
}


def status_of(error: RkllmdError) -> int:
    """The status. Who shows no key is asked for one, and a wrong method is not a wrong path."""
    if "challenge" in error.details:
        return 401
    if "methods" in error.details:
        return 405
    return LOOKS[error.code].status


def body_of(error: RkllmdError) -> dict[str, Any]:
    """The error in OpenAI's shape."""
    status = status_of(error)
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": error.message,
            "type": "authentication_error" if status == 401 else kind,
            "code": LOOKS[error.code].code or str(error.code),
            "param": error.details.get("member"),
        }
    }


def headers_of(error: RkllmdError) -> dict[str, str]:
    """What goes with it."""
    headers = {"x-should-retry": "false"}
    if status_of(error) == 503:
        headers["Retry-After"] = str(_wait_seconds(error.details.get("wait_ms")))
    if "challenge" in error.details:
        headers["WWW-Authenticate"] = error.details["challenge"]
    if "methods" in error.details:
        headers["Allow"] = ", ".join(error.details["methods"])
    return headers


def _wait_seconds(wait_ms: int | None) -> int:
    seconds = RETRY_SECONDS if wait_ms is None else math.ceil(wait_ms / 1000)
    return min(max(seconds, RETRY_SECONDS), RETRY_SECONDS_MAX)
