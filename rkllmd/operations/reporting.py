"""Telling a client how something long goes on, at once and then now and then."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

from rkllmd.operations.call import Call
from rkllmd.protocol.messages import Progress

PROGRESS_SECONDS = 0.4
AT_ONCE_SECONDS = 0.01
"""What takes no longer is not worth a word."""

T = TypeVar("T")


async def reported(
    call: Call,
    work: Coroutine[Any, Any, T],
    phase: Literal["load", "prefill", "build"],
    progress: Callable[[], tuple[int, int]],
) -> T:
    """Do the work, tell how far it is, and leave it when the call is stopped."""

    async def tell() -> None:
        await asyncio.sleep(AT_ONCE_SECONDS)
        while True:
            await call.send(Progress(phase, *progress()))
            await asyncio.sleep(PROGRESS_SECONDS)

    telling = asyncio.create_task(tell(), name=f"progress of {phase}")
    try:
        return await call.stop.guard(work)
    finally:
        telling.cancel()
        await asyncio.wait({telling})
