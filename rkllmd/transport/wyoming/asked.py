"""The shapes of the events that are understood, and which conversation they belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from rkllmd.errors import Code, RequestError
from rkllmd.shape import Length, ShapeError, read
from rkllmd.transport.wyoming.frames import Event

T = TypeVar("T")
Language = Annotated[str, Length(0, 35)]
Key = Annotated[str, Length(0, 256)]


@dataclass(frozen=True, slots=True)
class Transcript:
    """What somebody said."""

    text: Annotated[str, Length(0, 1 << 20)]
    """The words."""
    language: Language | None = None
    """The language that is spoken, as a BCP 47 tag."""
    context: Mapping[str, Any] | None = None
    """Which conversation it belongs to."""


@dataclass(frozen=True, slots=True)
class TranscriptStart:
    """Somebody begins to speak."""

    language: Language | None = None
    """The language that is spoken, as a BCP 47 tag."""
    context: Mapping[str, Any] | None = None
    """Which conversation it belongs to."""


@dataclass(frozen=True, slots=True)
class TranscriptChunk:
    """More of what is being said."""

    text: str
    """The words behind those of the chunk before."""


@dataclass(frozen=True, slots=True)
class SelectProgram:
    """Which model answers from now on."""

    name: Annotated[str, Length(1, 64)]
    """A program's name in `info`."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there."""

    text: str | None = None
    """What comes back."""


@dataclass(frozen=True, slots=True)
class UserEvent:
    """What Wyoming has no event for."""

    name: str
    """Which; those of others are passed over."""
    data: Mapping[str, Any] | None = None
    """The members of the protocol's operation of that name."""
    context: Mapping[str, Any] | None = None
    """Which conversation it belongs to."""


@dataclass(frozen=True, slots=True)
class _Context:
    conversation_id: Key | None = None
    satellite_id: Key | None = None
    device_id: Key | None = None


def understand(shape: type[T], event: Event) -> T:
    """The event's data, or a `RequestError`."""
    return fit(shape, event.data, event.type)


def fit(shape: type[T], data: Mapping[str, Any], where: str) -> T:
    """Data as a shape, or a `RequestError` that names the place."""
    try:
        return read(shape, data, ignore_unknown=True, null_is_absent=True)
    except ShapeError as error:
        raise RequestError(Code.BAD_REQUEST, f"{where}: {error}", member=error.where) from None


def session_of(context: Mapping[str, Any] | None) -> str | None:
    """The name of a context's conversation, if it has one."""
    found = fit(_Context, context or {}, "context")
    return found.conversation_id or found.satellite_id or found.device_id or None
