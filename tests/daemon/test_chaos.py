"""A thousand requests while workers are killed: each ends once, with its own answer or a reason.

Each request carries a mark, and what the model answers to a mark is known beforehand: it is greedy,
and its words depend on everything before them. So a word of somebody else would be seen.
"""

import asyncio
import json
import os
import random
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rkllmd.errors import Code

CLIENTS, SESSIONS, REQUESTS_EACH = 20, 4, 50
MARKS, KILLS = 25, 14
LINES_BETWEEN_KILLS = 60


def ask_of(mark):
    # Messages replace a session's history, so the answer depends on the mark alone.
    return {
        "op": "chat", "messages": [{"role": "user", "content": f"mark {mark}"}],
        "temperature": 0, "max_tokens": 4, "stream": "tokens",
    }  # fmt: skip


@dataclass
class Chaos:
    """Kills a worker now and then, but none twice under the same request."""

    household: object
    dice: random.Random
    open: set = field(default_factory=set)
    kills: int = 0
    kills_in_run: int = 0
    _hit: set = field(default_factory=set)
    _lines: int = LINES_BETWEEN_KILLS

    def saw(self, event):
        self._hit &= self.open
        self._lines -= 1
        in_run = self.kills % 2 == 1
        if self._hit or self._lines > 0 or self.kills == KILLS:
            return
        if in_run and event["event"] != "delta":
            return
        for pid in self.household.worker_pids():
            os.kill(pid, signal.SIGKILL)
            self._hit = set(self.open)
            self._lines = self.dice.randrange(LINES_BETWEEN_KILLS)
            self.kills += 1
            self.kills_in_run += in_run


async def client(number, household, chaos, known, ends):
    """A connection for a client's requests."""
    reader, writer = await asyncio.open_unix_connection(str(household.socket))
    try:
        await talk(number, reader, writer, chaos, known, ends[number])
    finally:
        writer.close()
        await writer.wait_closed()


async def talk(number, reader, writer, chaos, known, ends):
    """Four sessions, one request after the other in each."""
    numbers = iter(range(REQUESTS_EACH))
    said = {}

    def ask(session):
        request = next(numbers, None)
        if request is None:
            return
        identity, mark = f"{number}/{session}/{request}", chaos.dice.randrange(MARKS)
        chaos.open.add(identity)
        said[identity] = (mark, [])
        line = {"id": identity, "session": f"{number}/{session}", **ask_of(mark)}
        writer.write(json.dumps(line).encode() + b"\n")

    for session in range(SESSIONS):
        ask(session)
    while len(ends) < REQUESTS_EACH:
        event = json.loads(await reader.readline())
        identity = event["id"]
        mark, pieces = said[identity]
        assert identity not in ends, "a line after the last one"
        if event["event"] == "delta":
            pieces.append(event["text"])
        if event.get("final"):
            text = "".join(pieces)
            assert known[mark].startswith(text), "foreign text"
            if event["event"] == "done":
                assert (event["text"], text) == (known[mark], known[mark])
            else:
                assert event["code"] in {Code.ENGINE_CRASHED, Code.NOT_READY}
                assert text, f"nothing was said and it was not answered: {event}"
            ends[identity] = event["event"]
            chaos.open.discard(identity)
            ask(int(identity.split("/")[1]))
        chaos.saw(event)


def memory_and_descriptors(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    kib = next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)
    return kib, len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.mark.timeout(170)
def test_every_request_ends_once_whatever_dies(household):
    household.settings += ["engine.restarts_max=1000", "engine.restarts_window_s=1"]
    household.write_prompt("system", "Answer with the mark.")
    household.start()
    known = [household.ask(**ask_of(mark))["text"] for mark in range(MARKS)]
    assert len(set(known)) > MARKS // 2
    before = memory_and_descriptors(household.process.pid)
    chaos = Chaos(household, random.Random(7))
    ends = {number: {} for number in range(CLIENTS)}

    async def all_at_once():
        async with asyncio.TaskGroup() as tasks:
            for number in ends:
                tasks.create_task(client(number, household, chaos, known, ends))

    asyncio.run(all_at_once())
    counts = [event for told in ends.values() for event in told.values()]
    assert len(counts) == CLIENTS * REQUESTS_EACH
    assert chaos.kills >= 10
    assert chaos.kills_in_run >= 5
    assert counts.count("error") <= KILLS
    assert household.ask(**ask_of(0))["text"] == known[0]
    idle = {"running": False, "waiting": 0}
    household.until(lambda: household.ask("status")["queue"]["parrot"] == idle)
    after = memory_and_descriptors(household.process.pid)
    assert len(household.worker_pids()) == 1
    assert after[1] <= before[1] + 1, "the connection of the last question may still be open"
    assert after[0] <= before[0] + 20 * 1024
