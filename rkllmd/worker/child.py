"""What runs in a worker's process: one engine, and two threads around it.

The main thread runs the engine's calls one after another. The reader thread takes the frames: it
answers `cancel` and `tokenize` at once and queues the rest. A call that waits belongs to whoever
takes it out of `_waiting` first: the main thread to run it, or the reader to answer its cancel.

The process leaves at once when its socket ends, also in the middle of a run in C code. It ignores
SIGINT and SIGTERM, which a terminal or systemd sends to whole groups: the daemon drains first.
"""

import argparse
import ctypes
import faulthandler
import importlib
import os
import queue
import signal
import socket
import threading
import traceback
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn, cast

import rkllmd
from rkllmd.engine import THREAD_VARIABLES, open_engine
from rkllmd.engine.contract import Engine, EngineModule, OnProgress
from rkllmd.engine.measures import resident_bytes
from rkllmd.errors import Code, EngineError, RequestError, RkllmdError, StateError
from rkllmd.runs import Limits, LoadSpec, Pooling, Prompt, RunStats, Sampling
from rkllmd.worker.answer import AnswerText
from rkllmd.worker.frames import (
    AT_ONCE,
    PROTOCOL,
    STOPPABLE,
    Frame,
    FrameReader,
    encode,
    encode_piece,
)

OOM_SCORE_ADJUSTMENT = 500
"""The kernel is to take the worker, which can be replaced, and not the daemon."""
MESSAGE_CHARACTERS_MAX = 2000
READ_BYTES = 262_144
PR_SET_PDEATHSIG = 1
IOLBF = 1


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Be a worker until the socket ends."""
    parser = argparse.ArgumentParser(prog="python -m rkllmd.worker")
    parser.add_argument("--fd", type=int, required=True, help="the worker's end of a socket pair")
    parser.add_argument("--engine", required=True, help="an engine's name, or a dotted module")
    parser.add_argument("--threads", type=int, help="of the numeric libraries")
    options = parser.parse_args(arguments)
    os.set_inheritable(options.fd, False)
    become_a_worker()
    if options.threads:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(options.threads)))
    Child(socket.socket(fileno=options.fd), options.engine).serve()


def become_a_worker() -> None:
    """Tie this process to its parent's life, and make its last words readable."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    faulthandler.enable()
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # C code prints into a pipe here; what it keeps back would be lost when it crashes.
    libc.setvbuf(ctypes.c_void_p.in_dll(libc, "stdout"), None, IOLBF, ctypes.c_size_t(0))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJUSTMENT))


def find_engine(name: str) -> EngineModule:
    """An engine by its name; a dotted name is a module outside the engine room."""
    return cast("EngineModule", importlib.import_module(name)) if "." in name else open_engine(name)


class Call:
    """A call that was not answered yet."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.id = frame.count("call")
        self.op = frame.word("op")
        self.cancelled = False
        self.gives_way = False
        """To be cancelled where no character is cut."""


class Child:
    """The engine, and the calls to it."""

    def __init__(self, channel: socket.socket, engine_name: str) -> None:
        self._socket = channel
        self._sending = threading.Lock()
        self._engine_name = engine_name
        self._loaded: Engine | None = None
        self._open: dict[int, Call] = {}
        self._waiting: dict[int, Call] = {}
        self._queue: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._handlers = {
            "load": self._load,
            "run": self._run,
            "save_state": self._save_state,
            "load_state": self._load_state,
            "release_state": self._release_state,
            "reset": self._reset,
            "embed": self._embed,
            "logits": self._logits,
            "tokenize": self._tokenize,
            "cancel": self._cancel,
        }

    def serve(self) -> NoReturn:
        """Say hello, then do what comes."""
        self._send(
            {
                "event": "hello",
                "protocol": PROTOCOL,
                "engine": self._engine_name,
                "pid": os.getpid(),
                "version": rkllmd.__version__,
            }
        )
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        while True:
            call = self._queue.get()
            if self._waiting.pop(call.id, None):
                self._answer(call)

    # The reader thread

    def _read(self) -> None:
        status = 1
        try:
            reader = FrameReader()
            while data := self._socket.recv(READ_BYTES):
                for frame in reader.feed(data):
                    self._take(Call(frame))
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)

    def _take(self, call: Call) -> None:
        if call.op in AT_ONCE:
            self._answer(call)
            return
        self._open[call.id] = self._waiting[call.id] = call
        self._queue.put(call)

    def _cancel(self, call: Call) -> None:
        target = self._open.get(call.frame.count("target"))
        if target and target.op in STOPPABLE:
            target.gives_way = True
            target.cancelled = target.cancelled or not call.frame.header.get("gently")
            if self._waiting.pop(target.id, None):
                self._finish(target, **UNBEGUN[target.op])
        self._finish(call)

    def _tokenize(self, call: Call) -> None:
        tokens = array("i", self._engine.tokenize(call.frame.text()))
        self._finish(call, tokens.tobytes())

    # The main thread

    @property
    def _engine(self) -> Engine:
        if self._loaded is None:
            raise StateError(Code.NOT_READY, "the worker has no model yet")
        return self._loaded

    def _load(self, call: Call) -> None:
        spec = call.frame.record(LoadSpec, "spec")
        self._loaded = find_engine(self._engine_name).load(spec, self._progress_of(call))
        self._finish_held(call, facts=self._loaded.facts)

    def _run(self, call: Call) -> None:
        limits = call.frame.record(Limits, "limits")
        answer = AnswerText(limits.stop)

        def send_piece(text: str) -> None:
            if text:
                self._write(encode_piece(call.id, text.encode()))

        prompt = call.frame.prompt_with_media()
        self._refuse_media(prompt)
        stats = self._engine.run(
            prompt,
            call.frame.record(Sampling, "sampling"),
            limits,
            lambda data: send_piece(answer.feed(data)),
            lambda: call.cancelled or answer.stopped or (call.gives_way and answer.whole),
            self._progress_of(call),
        )
        send_piece(answer.finish())
        if answer.stopped:
            stats = replace(stats, reason="stop")
        self._finish_held(call, event="done", stats=replace(stats, memory_bytes=resident_bytes()))

    def _save_state(self, call: Call) -> None:
        path, prompt = Path(call.frame.word("path")), call.frame.prompt()
        progress = self._progress_of(call)
        info = self._engine.save_state(path, prompt, lambda: call.gives_way, progress)
        self._finish_held(call, info=info)

    def _load_state(self, call: Call) -> None:
        tokens = self._engine.load_state(Path(call.frame.word("path")))
        self._finish_held(call, tokens=tokens)

    def _release_state(self, call: Call) -> None:
        self._engine.release_state()
        self._finish_held(call)

    def _reset(self, call: Call) -> None:
        self._engine.reset()
        self._finish_held(call)

    def _embed(self, call: Call) -> None:
        pooling = cast("Pooling", call.frame.word("pooling"))
        normalize = call.frame.header.get("normalize") is True
        made = self._engine.embed(call.frame.text(), pooling, normalize=normalize)
        self._finish(call, made.values.tobytes(), tokens=made.tokens, held=None)

    def _logits(self, call: Call) -> None:
        made = self._engine.logits(call.frame.prompt())
        self._finish(call, made.values.tobytes(), tokens=made.tokens, held=None)

    def _refuse_media(self, prompt: Prompt) -> None:
        """What an engine cannot take, it does not have to look for."""
        for media in prompt.media:
            capability = self._engine.facts.capabilities.media(media.kind)
            if not capability:
                raise RequestError(
                    Code.UNSUPPORTED, f"No {media.kind} is taken: {capability.reason}."
                )

    # Both threads

    def _answer(self, call: Call) -> None:
        try:
            self._handlers[call.op](call)
        except RkllmdError as error:
            self._refuse(call, error)
        except Exception as error:  # noqa: BLE001 - whatever an engine raises, the worker goes on
            traceback.print_exc()
            if self._loaded and call.op not in AT_ONCE:
                self._loaded.reset()
            self._refuse(call, as_ours(error, call.op))

    def _refuse(self, call: Call, error: RkllmdError) -> None:
        members: dict[str, Any] = {
            "event": "error",
            "code": error.code,
            "message": error.message[:MESSAGE_CHARACTERS_MAX],
            "details": {name: plain(value) for name, value in error.details.items()},
        }
        if self._loaded and call.op not in AT_ONCE:
            self._finish_held(call, **members)
        else:
            self._finish(call, **members)

    def _progress_of(self, call: Call) -> OnProgress:
        def send(done: int, total: int) -> None:
            self._send({"call": call.id, "event": "progress", "done": done, "total": total})

        return send

    def _finish_held(self, call: Call, **members: Any) -> None:
        held = self._engine.held()
        payload = held.data if held else b""
        self._finish(call, payload, held=held.kind if held else None, **members)

    def _finish(self, call: Call, payload: bytes = b"", **members: Any) -> None:
        self._send({"call": call.id, "event": "ok", **members}, payload)
        self._open.pop(call.id, None)

    def _send(self, header: Mapping[str, Any], payload: bytes = b"") -> None:
        self._write(encode(header, payload))

    def _write(self, data: bytes) -> None:
        try:
            with self._sending:
                self._socket.sendall(data)
        except OSError:
            os._exit(0)  # Nobody is there any more.


UNBEGUN: Mapping[str, Mapping[str, Any]] = {
    "run": {"event": "done", "stats": RunStats(0, 0, 0, 0, 0.0, 0.0, "cancelled")},
    "save_state": {"info": None},
}
"""How a call ends that was cancelled before it had begun."""


def as_ours(error: Exception, op: str) -> RkllmdError:
    """An engine's unexpected exception as one of our errors."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, MemoryError):
        return EngineError(Code.OUT_OF_MEMORY, f"memory ran out in {op}: {said}")
    code = Code.LOAD_FAILED if op == "load" else Code.ENGINE_ERROR
    return EngineError(code, f"unexpected in {op}: {said}")


def plain(value: object) -> object:
    """A value that a frame can carry."""
    if isinstance(value, int | bool | None):
        return value
    return (
        value
        if isinstance(value, float) and isfinite(value)
        else str(value)[:MESSAGE_CHARACTERS_MAX]
    )
