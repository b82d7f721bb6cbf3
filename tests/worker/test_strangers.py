"""Children that are no workers, and a parent that dies."""

import os
import select
import subprocess
import sys

import pytest

from rkllmd.errors import Code, WorkerLost
from rkllmd.worker import supervisor
from rkllmd.worker.ends import EndKind
from rkllmd.worker.frames import PROTOCOL, encode
from tests.fakes.workers import Watched

HELLO = encode({"event": "hello", "protocol": PROTOCOL})
SPEAK = "import os, sys, time; os.write(int(sys.argv[-1]), bytes.fromhex('{}')); time.sleep(60)"

GARBAGE = [
    b"HTTP/1.1 200 OK\r\n\r\n",
    encode({"event": "hello", "protocol": PROTOCOL + 1}),
    encode({"event": "hello"}),
    encode({"event": "ok", "call": 1}),
    HELLO + HELLO,
    HELLO + encode({"event": "ok", "call": 77}),
    HELLO + encode({"event": "piece", "call": -1}, b"text"),
]


@pytest.mark.parametrize("said", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_is_a_typed_end(monkeypatch, said):
    await dies(monkeypatch, SPEAK.format(said.hex()), EndKind.GARBAGE, "broke the protocol")


LOADED = [
    {"event": "ok"},
    {"event": "ok", "facts": {}},
    {"event": "ok", "held": 5},
    {"event": "ok", "held": "tokens", "facts": None},
    {"event": "progress", "done": "x", "total": 1},
    {"event": "error", "code": 3},
    {"event": "dance"},
]


@pytest.mark.parametrize("answer", LOADED, ids=range(len(LOADED)))
async def test_nonsense_in_answer_to_a_call_is_a_typed_end(monkeypatch, answer):
    said = HELLO.hex(), encode({"call": 1, **answer}, b"abc").hex()
    script = (
        "import os, sys, time; fd = int(sys.argv[-1]); os.write(fd, bytes.fromhex('{}'));"
        "os.read(fd, 1); os.write(fd, bytes.fromhex('{}')); time.sleep(60)"
    ).format(*said)
    await dies(monkeypatch, script, EndKind.GARBAGE, "broke the protocol")


async def test_silence_from_the_beginning(monkeypatch):
    await dies(monkeypatch, "import time; time.sleep(60)", EndKind.SILENCE, "did not say hello")


async def test_a_child_that_leaves_at_once(monkeypatch):
    await dies(monkeypatch, "print('bye')", EndKind.CLEAN, "by itself; it last printed: bye")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "Fatal Python error: Segmentation fault"),
        ("print('loading', flush=True);", "loading"),
    ],
)
async def test_the_report_of_a_crash_is_told_by_its_first_line(monkeypatch, said, told):
    script = f"import faulthandler; faulthandler.enable(); {said} faulthandler._sigsegv()"
    await dies(monkeypatch, script, EndKind.SIGNAL, f"SIGSEGV.*; it last printed: {told}$")


async def test_what_comes_after_a_death_explains_it_too(monkeypatch):
    """The vendor's output goes through a `tee`, which may be behind when its worker is gone."""
    script = (
        "import os, time; reading, writing = os.pipe()\n"
        "if os.fork():\n"
        "    os.abort()\n"
        "os.close(writing); os.read(reading, 1); time.sleep(0.2); os.write(1, b'last words')\n"
    )
    await dies(monkeypatch, script, EndKind.SIGNAL, "SIGABRT.*; it last printed: last words")


async def dies(monkeypatch, script, kind, sentence):
    command = (sys.executable, "-S", "-c", script)
    monkeypatch.setattr(supervisor, "worker_command", lambda *_: command)
    hung = kind is EndKind.SILENCE
    async with Watched({}, restarts_max=0, hello_s=1.0 if hung else 60.0) as worker:
        with pytest.raises(WorkerLost, match=sentence) as lost:
            await worker.start()
        assert [end.kind for end in worker.ends] == [kind]
        assert lost.value.code is (Code.ENGINE_HUNG if hung else Code.ENGINE_CRASHED)


PARENT = """
import asyncio
from rkllmd.runs import GREEDY, Limits
from tests.fakes.workers import living, prompt

async def main():
    async with living(trouble={"token 1": "hang"}) as worker:
        run = worker.run(prompt("x"), GREEDY, Limits(5))
        await anext(run)
        await anext(run)
        print(worker.pid, flush=True)
        await run

asyncio.run(main())
"""


def test_a_worker_leaves_with_its_parent_in_the_middle_of_a_run():
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        worker = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        assert select.select([worker], [], [], 10)[0], "the worker goes on without a parent"
    finally:
        os.close(worker)
