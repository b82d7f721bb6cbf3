"""What can go wrong for a client: the daemon said no, in one of six ways, or is not there."""

from collections.abc import Mapping
from typing import Any

from rkllmd import errors


class DaemonError(Exception):
    """The daemon answered with an error."""

    def __init__(self, reply: Mapping[str, Any]) -> None:
        super().__init__(str(reply.get("message", "the daemon did not say what was wrong")))
        self.code = str(reply.get("code", "internal"))
        self.retryable = bool(reply.get("retryable"))
        self.hint = str(reply.get("hint", ""))
        self.details: Mapping[str, Any] = reply.get("details") or {}


class BadRequest(DaemonError):
    """The request has to be changed."""


class NotHere(DaemonError):
    """The named model, session or cache does not exist."""


class NotNow(DaemonError):
    """The same request can succeed later."""


class ModelFailed(DaemonError):
    """The model's run failed, or its worker died."""


class DiskFailed(DaemonError):
    """The daemon's disk said no."""


class ConnectionLost(Exception):
    """The daemon cannot be reached, or has left in the middle."""


KINDS: Mapping[type[errors.RkllmdError], type[DaemonError]] = {
    errors.RequestError: BadRequest,
    errors.NotFound: NotHere,
    errors.StateError: NotNow,
    errors.EngineError: ModelFailed,
    errors.WorkerLost: ModelFailed,
    errors.StorageError: DiskFailed,
    errors.InternalError: DaemonError,
}


def daemon_error(reply: Mapping[str, Any]) -> DaemonError:
    """The error that an `error` event stands for."""
    return KINDS[type(errors.from_code(str(reply.get("code")), ""))](reply)
