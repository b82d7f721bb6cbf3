"""An engine without a model that keeps the contract and does what a test wrote down for it.

A token is a byte. The answer is fixed by the whole context (`answer_to`), so a state that is wrong
in any place is seen. `LoadSpec.options` chooses the day; each option is harmless when absent:

    answer        the answer's bytes as Latin-1, in place of the one that the context gives
    trouble       where to what: {"load" | "prefill" | "token 3" | "save" | ...: "abort" | "segv" |
                  "kill" | "exit 3" | "hang" | "noise" | "memory" | "bug" | "refuse" | "close" |
                  "wait" (until the file `gate` is there to be read)}
    gate          a FIFO: "wait" opens it for reading, so the test lets the engine go on
    once          a file: trouble happens only while it does not exist, and makes it first
    deaf          should_stop is never asked
"""

import hashlib
import os
import signal
import sys
import threading
from array import array
from pathlib import Path

from rkllmd.errors import Code, EngineError, RequestError
from rkllmd.runs import (
    YES,
    Capabilities,
    Embedding,
    ModelFacts,
    Prompt,
    RunStats,
    StateInfo,
    cannot,
)

CHUNK = 64


def answer_to(context):
    """The byte that follows a context: a printable one that depends on all of it."""
    return b"abcdefghijklmnopqrstuvwxyz "[hashlib.sha256(bytes(context)).digest()[0] % 27]


def load(spec, on_progress):
    engine = ScriptedEngine(spec.options)
    on_progress(1, 2)
    engine.meet("load")
    on_progress(2, 2)
    return engine


class ScriptedEngine:
    def __init__(self, options):
        self.options = options
        self._held = b""
        self.facts = ModelFacts(
            engine="scripted",
            engine_version="1",
            architecture="none",
            context_tokens=options.get("context", 1_000_000),
            memory_bytes=1,
            load_ms=0.0,
            capabilities=Capabilities(*[YES] * 9, *[cannot("it reads text only")] * 2),
        )

    def meet(self, place):
        trouble = self.options.get("trouble", {}).get(place)
        if trouble is None:
            return
        once = self.options.get("once")
        if once:
            if Path(once).exists():
                return
            Path(once).touch()
        TROUBLES[trouble.split()[0]](self, trouble)

    def run(self, prompt, sampling, limits, on_piece, should_stop, on_progress):
        should_stop = (lambda: False) if self.options.get("deaf") else should_stop
        context = self.prefill(prompt, should_stop, on_progress)
        cached = self._cached
        reason, made = "length", 0
        scripted = self.options.get("answer")
        for number in range(limits.max_tokens):
            if context is None or should_stop():
                reason = "cancelled"
                break
            if scripted is not None and number == len(scripted):
                reason = "stop"
                break
            self.meet(f"token {number}")
            token = scripted.encode("latin-1")[number] if scripted else answer_to(self._held)
            self._held += bytes([token])
            made += 1
            on_piece(bytes([token]))
        if context is None:
            reason = "cancelled"
        total = len(prompt.tokens)
        return RunStats(total, self._prefilled, cached, made, 0.0, 0.0, reason)

    def prefill(self, prompt, should_stop, on_progress):
        wanted = bytes(list(prompt.tokens))
        if len(wanted) > self.facts.context_tokens:
            raise RequestError(Code.CONTEXT_OVERFLOW, "too long", allowed=self.facts.context_tokens)
        keep = prompt.common_units(self.held())
        keep = min(keep, max(0, len(wanted) - 1))
        self._held, self._cached, self._prefilled = wanted[:keep], keep, 0
        total = len(wanted) - keep
        while len(self._held) < len(wanted):
            if should_stop():
                return None
            self.meet("prefill")
            chunk = wanted[len(self._held) : len(self._held) + CHUNK]
            self._held += chunk
            self._prefilled += len(chunk)
            on_progress(self._prefilled, total)
        return wanted

    def save_state(self, path, prompt, should_stop, on_progress):
        if self.prefill(prompt, should_stop, on_progress) is None:
            return None
        self.meet("save")
        path.write_bytes(self._held)
        return StateInfo(len(self._held), self._prefilled, 0.0)

    def load_state(self, path):
        self.meet("load_state")
        self._held = b""
        try:
            self._held = path.read_bytes()
        except OSError as error:
            raise EngineError(Code.ENGINE_ERROR, f"no state: {error}", path=path) from error
        return len(self._held)

    def release_state(self):
        self._held = b""

    def reset(self):
        self.meet("reset")
        self._held = b""

    def held(self):
        return Prompt.of_tokens(list(self._held))

    def tokenize(self, text):
        self.meet("tokenize")
        return list(text.encode())

    def embed(self, text, pooling, *, normalize):
        self.meet("embed")
        self._held = b""
        return Embedding(array("f", [float(len(text)), 0.5]), len(text))

    def close(self):
        pass


def _noise(_engine, _trouble):
    os.write(1, b"on stdout\r\non stderr \xff\xfe\x1b[31m\n" + b"x" * 100_000 + b"\nlast\n")


def _hang(_engine, _trouble):
    threading.Event().wait()


def _bug(_engine, _trouble):
    raise ZeroDivisionError("a mistake in the engine")


def _memory(_engine, _trouble):
    raise MemoryError


def _refuse(_engine, _trouble):
    raise EngineError(Code.ENGINE_ERROR, "the engine will not", message="details", code=7)


def _close(_engine, _trouble):
    os.closerange(3, 100)


def _wait(engine, _trouble):
    Path(engine.options["gate"]).read_bytes()


TROUBLES = {
    "abort": lambda *_: os.abort(),
    "segv": lambda *_: os.kill(os.getpid(), signal.SIGSEGV),
    "kill": lambda *_: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda _, trouble: sys.exit(int(trouble.split()[1])),
    "hang": _hang,
    "noise": _noise,
    "memory": _memory,
    "bug": _bug,
    "refuse": _refuse,
    "close": _close,
    "wait": _wait,
}
