"""Conversations that the daemon remembers. Pure: time comes in with each call.

A session is a list of messages under any name that a client chose. It expires when it is not used;
an expired or unknown name begins a new, empty one. The number of sessions and the text of each are
bounded: the session unused for longest goes first, and of a session's history the oldest turns.
While a request goes on in it (`talk`) a session neither expires nor has to go.
A turn is a user's message with everything that answers it, and is dropped as a whole.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from rkllmd.errors import Code, NotFound, RequestError
from rkllmd.ids import SessionName
from rkllmd.protocol.messages import Message, TextPart


@dataclass(slots=True)
class Session:
    """One conversation."""

    name: SessionName
    last_used: float
    history: list[Message] = field(default_factory=list)
    turns: int = 0
    talks: int = 0
    """How many requests go on in it."""


@dataclass(slots=True)
class Sessions:
    """All of them."""

    expire_s: float
    count_max: int
    bytes_max: int
    _known: dict[SessionName, Session] = field(default_factory=dict)

    @contextmanager
    def talk(self, name: SessionName, clock: Callable[[], float]) -> Iterator[Session]:
        """The session of that name, a new one if there is none, for the length of a request."""
        self._expire(clock())
        session = self._known.get(name) or Session(name, clock())
        session.talks += 1
        self._touch(session, clock())
        try:
            yield session
        finally:
            session.talks -= 1
            if self._known.get(name) is session:
                self._touch(session, clock())

    def _touch(self, session: Session, now: float) -> None:
        session.last_used = now
        self._known.pop(session.name, None)
        self._known[session.name] = session  # the one used last stands last
        idle = [name for name, one in self._known.items() if not one.talks and one is not session]
        for name in idle[: max(len(self._known) - self.count_max, 0)]:
            del self._known[name]

    def show(self, name: SessionName, now: float) -> Session:
        """The session of that name, which has to be there."""
        self._expire(now)
        if name not in self._known:
            raise NotFound(Code.UNKNOWN_SESSION, f"there is no session {name!r}", session=name)
        return self._known[name]

    def all(self, now: float) -> list[Session]:
        """Every session, the one used last at the end."""
        self._expire(now)
        return list(self._known.values())

    def reset(self, name: SessionName, now: float) -> None:
        """Forget a session."""
        self.show(name, now)
        del self._known[name]

    def remember(self, session: Session, history: Sequence[Message]) -> None:
        """Take over a history with one more turn; nothing when it was forgotten meanwhile."""
        if self._known.get(session.name) is not session:
            return
        session.history = within(history, self.bytes_max)
        session.turns += 1

    def truncate(self, name: SessionName, spoken: str | int, now: float) -> str:
        """Cut the last answer to what was heard: a text that it begins with, or its length."""
        session = self.show(name, now)
        place = _last_answer(session.history)
        if place is None:
            raise RequestError(Code.BAD_REQUEST, f"session {name!r} has no answer to truncate")
        text = content_text(session.history[place])
        kept = text[: spoken if isinstance(spoken, int) else _heard(text, spoken)]
        session.history[place] = replace(session.history[place], content=kept, tool_calls=())
        return kept

    def _expire(self, now: float) -> None:
        gone = [
            name
            for name, one in self._known.items()
            if not one.talks and now - one.last_used > self.expire_s
        ]
        for name in gone:
            del self._known[name]


def content_text(message: Message) -> str:
    """What a message says, as one text."""
    if isinstance(message.content, tuple):
        return "".join(part.text for part in message.content if isinstance(part, TextPart))
    return message.content or ""


def turns_of(history: Sequence[Message]) -> list[list[Message]]:
    """A history cut in front of each user's message; what stands before the first is a turn too."""
    turns: list[list[Message]] = []
    for message in history:
        if message.role == "user" or not turns:
            turns.append([])
        turns[-1].append(message)
    return turns


def within(history: Sequence[Message], bytes_max: int) -> list[Message]:
    """The newest turns that fit, at least the last one."""
    kept: list[list[Message]] = []
    room = bytes_max
    for turn in reversed(turns_of(history)):
        room -= sum(len(content_text(message).encode()) for message in turn)
        if room < 0 and kept:
            break
        kept.insert(0, turn)
    return [message for turn in kept for message in turn]


def without_oldest_turn(history: Sequence[Message]) -> list[Message] | None:
    """The history less its oldest turn, None when only one is left. System messages stay."""
    system = [message for message in history if message.role in {"system", "developer"}]
    turns = turns_of([message for message in history if message not in system])
    if len(turns) < 2:
        return None
    return [*system, *(message for turn in turns[1:] for message in turn)]


def _last_answer(history: Sequence[Message]) -> int | None:
    places = (i for i in range(len(history) - 1, -1, -1) if history[i].role == "assistant")
    return next(places, None)


def _heard(text: str, spoken: str) -> int:
    """How much of a text was heard; speech has lost Markdown and spaces on the way.

    Both are walked along together, skipping in the text what the speech does not have.
    """
    place = 0
    for character in spoken:
        if character.isspace():
            continue
        found = text.find(character, place)
        if found < 0:
            break
        place = found + 1
    return place
