#!/usr/bin/env python3
"""A voice assistant's loop: wake, prefill while somebody speaks, speak sentences, be interrupted.

Microphone, recogniser and loudspeaker are stand-ins that read lines and print; the daemon is real.

    printf '%s\n' 'turn on' 'turn on the light' | voice_loop.py [SOCKET [BARGE_IN_AFTER]]

Each line but the last is what the recogniser believes so far, the last is what was said. With
BARGE_IN_AFTER somebody interrupts after so many sentences.
"""

import asyncio
import sys
from contextlib import aclosing

from rkllmd.client import AsyncClient

SESSION = "kitchen"


async def hear(client: AsyncClient) -> str:
    """The recogniser believes this and that while somebody speaks, and the daemon prefills it."""
    # The wake word was heard: the system prompt and the history are made ready.
    await client.prefill(None, SESSION)
    *partials, said = sys.stdin.read().splitlines()
    prefills = [asyncio.create_task(client.prefill(text, SESSION)) for text in partials]
    # A newer prefill takes the place of an older one, whose task then has its end, too.
    await asyncio.gather(*prefills)
    return said


async def answer(client: AsyncClient, said: str, barge_in_after: int) -> None:
    """Speak the answer sentence by sentence, until it ends or somebody interrupts."""
    spoken = []
    sentences = client.sentences(said, session=SESSION, priority="voice", max_tokens=80)
    async with aclosing(sentences):  # leaving it cancels the answer, also in the engine
        async for sentence in sentences:
            print(f"speaking: {sentence}", flush=True)
            spoken.append(sentence)
            if len(spoken) == barge_in_after:
                break
    if spoken and len(spoken) == barge_in_after:
        # What was not heard is no part of the conversation.
        await client.truncate(SESSION, " ".join(spoken))
        print("interrupted", flush=True)


async def main() -> None:
    """Wake, listen, answer."""
    socket = sys.argv[1] if len(sys.argv) > 1 else "/run/rkllmd/rkllmd.sock"
    barge_in_after = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    # A daemon that is being restarted is waited for.
    async with AsyncClient(socket, patience_s=30) as client:
        await answer(client, await hear(client), barge_in_after)


asyncio.run(main())
