"""The daemon's own proof of a cache, on the simulated runtime of every layout."""

import asyncio
from asyncio import to_thread
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.engine.contract import Engine
from rkllmd.reconcile.building import build, verify
from rkllmd.runs import Limits, Prompt, RunStats, StateInfo
from tests.engine_rkllm.stories import SYSTEM, answer, opened, save
from tests.fakes.rkllm.built import VERSIONS, built, make_model


class Direct:
    """The engine without a worker around it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def extend(self, prompt: Prompt, words: str) -> Prompt:
        return Prompt.of_text(prompt.text + words)

    async def run(self, prompt: Prompt, limits: Limits) -> tuple[RunStats, str]:
        text, stats = await to_thread(answer, self.engine, prompt.text, limits.max_tokens)
        return stats, text

    async def save_state(self, path: Path, prompt: Prompt) -> StateInfo:
        info = await to_thread(save, self.engine, path, prompt.text)
        assert isinstance(info, StateInfo)
        return info

    async def load_state(self, path: Path, prefix: Prompt) -> None:
        await to_thread(self.engine.load_state, path)

    async def reset(self) -> None:
        await to_thread(self.engine.reset)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_state_is_built_proved_and_proved_again(version: str, tmp_path: Path) -> None:
    state = tmp_path / "state"
    prefix = Prompt.of_text(SYSTEM)

    def on_a_fresh_engine(work: Callable[[Direct], Any]) -> Any:
        engine = opened(built(version), make_model(tmp_path / "model.rkllm"))
        try:
            return asyncio.run(work(Direct(engine)))
        finally:
            engine.close()

    made = on_a_fresh_engine(lambda engine: build(engine, prefix, state, greedy=True))
    assert (made.proof.counts_fit, made.proof.words_agree) == (3, 3)
    assert made.proof.problem == ""
    again = on_a_fresh_engine(
        lambda engine: verify(engine, prefix, state, made.tokens, greedy=True)
    )
    assert again.problem == ""
    other = Prompt.of_text(SYSTEM.replace("lamp", "door"))
    foreign = on_a_fresh_engine(
        lambda engine: verify(engine, other, state, made.tokens, greedy=True)
    )
    assert "did not reuse" in foreign.problem
