"""The engine in a real worker: what kills or hangs it costs its run and nothing else."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from rkllmd.config import settings
from rkllmd.errors import Code, RkllmdError
from rkllmd.ids import ModelName
from rkllmd.runs import GREEDY, Limits, LoadSpec, Prompt, RunStats
from rkllmd.worker.channel import Piece
from rkllmd.worker.supervisor import Supervisor
from tests.engine_rkllm.conftest import Script
from tests.engine_rkllm.stories import SYSTEM, turn
from tests.fakes.rkllm.built import NEWEST, VERSIONS, built, make_model

PREFIX = Prompt.of_text(SYSTEM)


Start = Callable[..., AbstractAsyncContextManager[Supervisor]]


@pytest.fixture(params=[NEWEST])
def worker(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Makes workers; library and model are there before the loop has to be free."""
    model = make_model(tmp_path / "model.rkllm")
    spec = LoadSpec(str(model), options={"library": str(built(request.param))})

    def start(**limits: Any) -> Supervisor:
        given = settings.Engine(**{"restarts_max": 3, **limits})
        return Supervisor(ModelName("kitchen"), "rkllm", spec, given, 5.0)

    return start


async def answer(supervisor: Supervisor, text: str = "hello") -> tuple[str, RunStats]:
    run = supervisor.run(Prompt.of_text(turn(text)), GREEDY, Limits(20))
    said = [event.text async for event in run if isinstance(event, Piece)]
    return "".join(said), await run


@pytest.mark.parametrize("worker", VERSIONS, indirect=True)
async def test_a_state_survives_its_worker(worker: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with worker() as first:
        await first.start()
        cold, _ = await answer(first)
        saved = await first.save_state(state, PREFIX)
        assert saved is not None
    async with worker() as second:
        await second.start()
        await second.load_state(state)
        warm, stats = await answer(second)
    assert warm == cold
    assert stats.cached_tokens >= saved.tokens


@pytest.mark.parametrize("fault", ["prefill=crash", "token.3=crash", "token.2=exit"])
async def test_a_crash_costs_one_run(fault: str, worker: Start, script: Script) -> None:
    script("none=1")
    async with worker() as supervisor:
        await supervisor.start()
        expected, _ = await answer(supervisor)
        script(f"{fault} once;noise=1")
        with pytest.raises(RkllmdError) as caught:
            await answer(supervisor, "is the door shut")
        assert caught.value.code is Code.ENGINE_CRASHED
        await supervisor.start()
        assert (await answer(supervisor))[0] == expected


async def test_a_crash_while_saving_costs_that_state(
    worker: Start, script: Script, tmp_path: Path
) -> None:
    script("save=crash once")
    async with worker() as supervisor:
        await supervisor.start()
        with pytest.raises(RkllmdError) as caught:
            await supervisor.save_state(tmp_path / "state", PREFIX)
        assert caught.value.code is Code.ENGINE_CRASHED
        await supervisor.start()
        assert (await supervisor.save_state(tmp_path / "state", PREFIX)) is not None
        assert (await answer(supervisor))[0]


async def test_a_hang_is_ended(worker: Start, script: Script) -> None:
    script("none=1")
    async with worker(hang_s=1.0) as supervisor:
        await supervisor.start()
        script("prefill=hang once")
        with pytest.raises(RkllmdError) as caught:
            await answer(supervisor)
        assert caught.value.code is Code.ENGINE_HUNG
        await supervisor.start()
        assert (await answer(supervisor))[0]


async def test_last_lines_explain_a_death_while_loading(worker: Start, script: Script) -> None:
    script("init=crash;noise=1")
    async with worker(restarts_max=0) as supervisor:
        with pytest.raises(RkllmdError) as caught:
            await supervisor.start()
        assert "E rkllm:" in str(caught.value.details) + caught.value.message


async def test_a_refused_model_says_why(worker: Start, script: Script) -> None:
    script("init=oom")
    async with worker() as supervisor:
        with pytest.raises(RkllmdError) as caught:
            await supervisor.start()
        assert caught.value.code is Code.OUT_OF_MEMORY


async def test_leaving_stops_the_runtime(worker: Start, script: Script) -> None:
    script(f"answer={' more' * 500};token_us=2000")
    async with worker() as supervisor:
        await supervisor.start()
        run = supervisor.run(Prompt.of_text(turn("hello")), GREEDY, Limits(500))
        async for _ in run:
            run.cancel()
            break
        stats = await run
        assert stats.reason == "cancelled"
        assert stats.generated_tokens < 500
        script("none=1")
        assert (await answer(supervisor))[0]
