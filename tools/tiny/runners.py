"""What runs the model for the evaluation: llama.cpp, or the daemon's own engine.

A runner gets a whole rendered prompt and gives what the model answers with greedy choice, and
whether it ended by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Answer:
    """What a model said."""

    text: str
    ended: bool


class Runner(Protocol):
    """Answers a rendered prompt greedily."""

    def answer(self, prompt: str, tokens_max: int) -> Answer: ...


class LlamaRunner:
    """llama.cpp, through the package xllamacpp."""

    def __init__(self, model: Path, threads: int = 1, context: int = 2048) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_ctx = context
        params.n_parallel = 1
        params.n_gpu_layers = 0
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
        params.warmup = False
        params.verbosity = 0
        self.server = xllamacpp.Server(params)

    def answer(self, prompt: str, tokens_max: int) -> Answer:
        request = {
            "prompt": prompt,
            "max_tokens": tokens_max,
            "temperature": 0.0,
            "top_k": 1,
            "cache_prompt": True,
        }
        reply: Any = self.server.handle_completions(request)
        if "choices" not in reply:
            raise RuntimeError(f"llama.cpp did not answer: {reply}")
        choice = reply["choices"][0]
        return Answer(choice["text"], choice["finish_reason"] == "stop")


class EngineRunner:
    """The daemon's own engine for small models, in numpy, by the contract of all engines."""

    def __init__(self, model: Path) -> None:
        from rkllmd.engine import tiny
        from rkllmd.runs import LoadSpec

        self.engine = tiny.load(LoadSpec(model_path=str(model)), lambda _done, _all: None)

    def answer(self, prompt: str, tokens_max: int) -> Answer:
        from rkllmd.runs import GREEDY, Limits, Prompt

        pieces: list[bytes] = []
        tokens = Prompt.of_tokens(self.engine.tokenize(prompt))
        stats = self.engine.run(
            tokens,
            GREEDY,
            Limits(tokens_max),
            pieces.append,
            lambda: False,
            lambda _done, _all: None,
        )
        return Answer(b"".join(pieces).decode(errors="replace"), stats.reason == "stop")


def open_runner(kind: str, model: Path) -> Runner:
    """The runner of a kind: `llama` or `tiny`."""
    if kind == "llama":
        return LlamaRunner(model)
    if kind == "tiny":
        return EngineRunner(model)
    raise ValueError(f"unknown runner: {kind}")
