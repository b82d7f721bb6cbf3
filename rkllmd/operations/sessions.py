"""`session.*`: the conversations that the daemon remembers."""

import time
from dataclasses import asdict
from typing import Any

from rkllmd.errors import Code, RequestError
from rkllmd.ids import SessionName
from rkllmd.operations.call import Call
from rkllmd.operations.services import Services
from rkllmd.protocol.messages import SessionList, SessionReset, SessionShow, SessionTruncate
from rkllmd.scheduling.sessions import Session


async def session_list(services: Services, request: SessionList, call: Call) -> dict[str, Any]:
    """The sessions, the one used last at the end."""
    now = time.monotonic()
    return {"sessions": [_shown(one, now) for one in services.sessions.all(now)]}


async def session_show(services: Services, request: SessionShow, call: Call) -> dict[str, Any]:
    """One session with its history."""
    now = time.monotonic()
    session = services.sessions.show(SessionName(request.session), now)
    return {**_shown(session, now), "messages": [asdict(one) for one in session.history]}


async def session_reset(services: Services, request: SessionReset, call: Call) -> dict[str, Any]:
    """Forget a session."""
    services.sessions.reset(SessionName(request.session), time.monotonic())
    await services.scheduler.snapshots.forget_session(request.session)
    return {}


async def session_truncate(
    services: Services, request: SessionTruncate, call: Call
) -> dict[str, Any]:
    """Cut the last answer to what was heard."""
    spoken = request.chars if request.spoken is None else request.spoken
    if spoken is None:
        raise RequestError(Code.BAD_REQUEST, "spoken: found nothing, allowed: `spoken` or `chars`")
    name = SessionName(request.session)
    with services.order.place(name) as place:
        await place.reached(call)
        return {"kept": services.sessions.truncate(name, spoken, time.monotonic())}


def _shown(session: Session, now: float) -> dict[str, Any]:
    return {
        "session": session.name,
        "turns": session.turns,
        "idle_s": round(now - session.last_used, 3),
    }
