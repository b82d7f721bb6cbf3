"""Experiments on the vendor's runtime, each in a process of its own, because some may end it.

    python -m tools.boards.experiments NAME FOUND LIBRARY LAYOUT MODEL

Every fact is written to the file FOUND at once, as a line of JSON: what was found before a death
counts. What the library prints is left alone; whoever starts this reads it.
"""

import ctypes
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rkllmd.native.functions import CallFailed
from rkllmd.native.handle import Event, Handle, Init, Request
from rkllmd.native.layouts import Layout
from rkllmd.native.library import Library, open_library
from rkllmd.native.rkllm import CallbackReturn, CallState, InferMode, InputType
from rkllmd.runs import GREEDY

CONTEXT_TOKENS = 1024
NEW_TOKENS = 24
PREFIX = "The kitchen has a lamp, a kettle and a window to the garden. " * 16
QUESTIONS = ("What is in the kitchen?", "Where does the window lead to?")
LONG = PREFIX * 3
TOO_LONG = PREFIX * 40
MANY_BYTES = "Repeat exactly: 你好，世界 🙂 žluťoučký kůň"
PAUSE_AFTER = 3
ABORT_SECONDS = 0.1
GROWTH_SECONDS = 0.001


class Probe(Handle):
    """A handle that keeps what it is told, and can do what the daemon never does."""

    def __init__(self, library: Library, model: Path) -> None:
        self.library = library
        self.seen: list[Event] = []
        self.threads: set[int] = set()
        self.generated: int | None = None
        self.pauses = False
        self.ids: tuple[int, ...] = ()
        super().__init__(library, Init(model, CONTEXT_TOKENS, NEW_TOKENS, GREEDY))

    def ask(self, text: str, new_tokens: int = NEW_TOKENS, **more: Any) -> int:
        """Run; what rkllm_run returned."""
        self.seen.clear()
        request = Request(text, more.pop("mode", InferMode.GENERATE), new_tokens, GREEDY, **more)
        try:
            self.run(request, self.seen.append)
        except CallFailed as error:
            return error.status
        return 0

    def prefilled(self, text: str, new_tokens: int = 1, **more: Any) -> int | None:
        """How many tokens a run has computed of its prompt; None where it is not told."""
        self.ask(text, new_tokens, **more)
        perf = self.seen[-1].perf if self.seen else None
        return perf.prefilled_tokens if perf else None

    def is_running(self) -> int:
        """What the library says."""
        return int(self._call.rkllm_is_running(self._pointer))

    def _on_result(self, result: Any, userdata: int | None, state: int) -> int:
        self.threads.add(threading.get_ident())
        if state == CallState.FINISH and result and self.library.layout >= Layout.V1_2_1:
            self.generated = result.contents.perf.generate_tokens
        answer = super()._on_result(result, userdata, state)
        return CallbackReturn.PAUSE if self.pauses and len(self.seen) == PAUSE_AFTER else answer

    def _input(self, request: Request) -> Any:
        given = super()._input(request)
        if self.ids:
            self._array = (ctypes.c_int32 * len(self.ids))(*self.ids)
            given.input_type = InputType.TOKEN
            given.token_input.input_ids = self._array
            given.token_input.n_tokens = len(self.ids)
        return given


Tell = Callable[..., None]


def events(probe: Probe, folder: Path, tell: Tell) -> None:
    """What a run calls back, on which thread, and what is_running says meanwhile."""
    running: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(GROWTH_SECONDS):
            running.append(probe.is_running())

    looking = threading.Thread(target=look)
    looking.start()
    status = probe.ask(MANY_BYTES)
    over.set()
    looking.join()
    states = [event.state for event in probe.seen]
    tell(
        status=status,
        states={state.name: states.count(state) for state in CallState},
        waiting_bytes=sum(len(e.text) for e in probe.seen if e.state is CallState.WAITING),
        empty_texts=sum(e.state is CallState.NORMAL and not e.text for e in probe.seen),
        generated=probe.generated,
        own_thread=probe.threads == {threading.get_ident()},
        running=sorted(set(running)),
        running_after=probe.is_running(),
        held=probe.held_tokens(),
    )


def reuse(probe: Probe, folder: Path, tell: Tell) -> None:
    """What is computed again of a prompt that the last run had."""
    tell(first=probe.prefilled(PREFIX + QUESTIONS[0]))
    tell(same=probe.prefilled(PREFIX + QUESTIONS[0]))
    tell(other=probe.prefilled(PREFIX + QUESTIONS[1]))
    probe.clear()
    tell(held_after_clear=probe.held_tokens())
    tell(after_clear=probe.prefilled(PREFIX + QUESTIONS[1]))


def state(probe: Probe, folder: Path, tell: Tell) -> None:
    """How a state file is written, what it holds, and what loading it saves."""
    file, again = folder / "state", folder / "again"
    sizes: list[tuple[int, int]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(GROWTH_SECONDS):
            if file.exists():
                status = file.stat()
                sizes.append((status.st_ino, status.st_size))

    looking = threading.Thread(target=look)
    looking.start()
    whole = probe.prefilled(PREFIX, save_to=file)
    there = file.exists()
    over.set()
    looking.join()
    tell(whole=whole, there=there)
    data = file.read_bytes()
    words = [int.from_bytes(data[n : n + 4], "little") for n in (0, 4, 8)]
    tell(words=words, bytes=len(data), footer=data[-16:].hex())
    tell(sizes=sorted({size for _, size in sizes}), inodes=len({inode for inode, _ in sizes}))
    probe.clear()
    probe.load_cache(file)
    tell(loaded=probe.prefilled(PREFIX + QUESTIONS[0]))
    tell(second=probe.prefilled(PREFIX + QUESTIONS[1]))
    probe.clear()
    tell(cleared=probe.prefilled(PREFIX + QUESTIONS[0]))
    probe.release_cache()
    probe.clear()
    probe.load_cache(file)
    probe.prefilled(PREFIX, save_to=again)
    tell(same_bytes=again.exists() and again.read_bytes() == data)
    probe.release_cache()


def foreign(probe: Probe, folder: Path, tell: Tell) -> None:
    """A file that is none of the runtime's."""
    (folder / "foreign").write_bytes(b"\x00\x01\x02\x03" * 4096)
    tell(load=_status(lambda: probe.load_cache(folder / "foreign")))
    tell(run=probe.ask(PREFIX))


def torn(probe: Probe, folder: Path, tell: Tell) -> None:
    """A state file of which a half is missing."""
    file = folder / "torn"
    probe.prefilled(PREFIX, save_to=file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    probe.clear()
    tell(load=_status(lambda: probe.load_cache(file)))
    tell(prefilled=probe.prefilled(PREFIX))


def too_long(probe: Probe, folder: Path, tell: Tell) -> None:
    """A prompt beyond the window."""
    tell(status=probe.ask(TOO_LONG), calls=len(probe.seen))
    tell(next=probe.ask(QUESTIONS[0]))


def pause(probe: Probe, folder: Path, tell: Tell) -> None:
    """A callback that returns 1."""
    probe.pauses = True
    tell(status=probe.ask(QUESTIONS[0]), states=[event.state.name for event in probe.seen])


def abort(probe: Probe, folder: Path, tell: Tell) -> None:
    """How long a prefill goes on after it was aborted, and whether the next run is clean."""
    began = time.monotonic()
    probe.prefilled(LONG)
    tell(whole_ms=round((time.monotonic() - began) * 1000))
    probe.clear()
    timer = threading.Timer(ABORT_SECONDS, probe.abort)
    began = time.monotonic()
    timer.start()
    probe.ask(LONG, 1)
    tell(aborted_ms=round((time.monotonic() - began) * 1000))
    timer.join()
    expected = probe.ask(QUESTIONS[0])
    tell(next=expected)


def tokens(probe: Probe, folder: Path, tell: Tell) -> None:
    """Whether a prompt of tokens gets one more in front; the ids are those of a state file."""
    file = folder / "ids"
    probe.prefilled(PREFIX, save_to=file)
    data = file.read_bytes()
    count = int.from_bytes(data[8:12], "little")
    ids = tuple(
        int.from_bytes(data[n : n + 4], "little", signed=True) for n in range(12, 12 + 4 * count, 4)
    )
    probe.clear()
    probe.ids = ids
    tell(given=count, prefilled=probe.prefilled(""))


def hidden(probe: Probe, folder: Path, tell: Tell) -> None:
    """The last hidden layer."""
    status = probe.ask(QUESTIONS[0], 1, mode=InferMode.GET_LAST_HIDDEN_LAYER)
    rows = [event.rows for event in probe.seen if event.rows]
    tell(status=status, rows=[(one.count, one.width) for one in rows])


EXPERIMENTS = {
    function.__name__: function
    for function in (
        events, reuse, state, tokens, too_long, hidden, abort, pause, foreign, torn,
    )
}  # fmt: skip
"""The harmless ones first."""


def _status(call: Callable[[], None]) -> int:
    try:
        call()
    except CallFailed as error:
        return error.status
    return 0


def main() -> None:
    """Do one experiment."""
    name, found, setting, layout, model = sys.argv[1:]

    def tell(**facts: Any) -> None:
        with Path(found).open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts) + "\n")

    probe = Probe(open_library(setting, layout), Path(model))
    probe.set_empty_template()
    tell(loaded_ok=True)
    EXPERIMENTS[name](probe, Path(found).parent, tell)
    probe.close()


if __name__ == "__main__":
    main()
