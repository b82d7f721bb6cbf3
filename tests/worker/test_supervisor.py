"""One model's worker, in real processes."""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from rkllmd.errors import Code, RequestError, RkllmdError, StateError, WorkerLost
from rkllmd.runs import GREEDY, Limits, Prompt
from rkllmd.worker.channel import Piece, PrefillProgress
from rkllmd.worker.ends import EndKind
from rkllmd.worker.supervisor import State
from tests.fakes.workers import Watched, expected, living, prompt, words


async def answer(supervisor, text, count=5, stop=()):
    run = supervisor.run(prompt(text), GREEDY, Limits(count, stop))
    said = "".join([item.text async for item in run if isinstance(item, Piece)])
    return said, run.result


async def ready_again(supervisor):
    await supervisor.start()
    assert supervisor.state is State.READY


async def test_a_run_streams_its_answer():
    async with living() as worker:
        run = worker.run(prompt("x" * 200), GREEDY, Limits(20))
        items = [item async for item in run]
        progress = [item for item in items if isinstance(item, PrefillProgress)]
        assert progress[-1] == PrefillProgress(200, 200)
        assert words(items) == expected("x" * 200, 20)
        stats = await run
        assert (stats.prompt_tokens, stats.prefilled_tokens, stats.cached_tokens) == (200, 200, 0)
        assert (stats.generated_tokens, stats.reason) == (20, "length")
        assert stats.memory_bytes > 1_000_000
        assert run.held == worker.held == prompt("x" * 200 + words(items))
        assert worker.states == ["starting", "loading", "ready"]
        assert [(load.done, load.total) for load in worker.loads] == [(1, 2), (2, 2)]
        assert worker.facts.engine == "scripted"
    assert worker.state is State.STOPPED
    assert worker.pid is None
    assert worker.held is None


async def test_the_second_turn_computes_only_what_is_new():
    async with living() as worker:
        said, _ = await answer(worker, "first turn.")
        _, stats = await answer(worker, f"first turn.{said} second")
        assert stats.cached_tokens == len("first turn.") + 5
        assert stats.prefilled_tokens == len(" second")


async def test_states_travel_by_file(tmp_path):
    async with living() as worker:
        info = await worker.save_state(tmp_path / "s", prompt("system"))
        assert (info.tokens, info.prefilled_tokens) == (6, 6)
        await worker.reset()
        assert worker.held == prompt("")
        assert await worker.load_state(tmp_path / "s") == 6
        assert worker.held == prompt("system")
        said, stats = await answer(worker, "system, hello")
        assert stats.cached_tokens == 6
        assert said == expected("system, hello", 5)
        await worker.release_state()
        assert worker.held == prompt("")


async def test_embedding_forgets_what_was_held():
    async with living() as worker:
        await answer(worker, "hello")
        made = await worker.embed("four", "mean", normalize=True)
        assert (list(made.values), made.tokens) == ([4.0, 0.5], 4)
        assert worker.held is None


async def test_huge_texts_pass():
    text = "ä🙂" * 500_000
    async with living() as worker:
        assert (await worker.tokenize(text)).units == len(text.encode())
        tokens = await worker.tokenize("y" * 1_000_000)
        run = worker.run(tokens, GREEDY, Limits(0))
        assert (await run).prefilled_tokens == 1_000_000
        assert run.held == tokens


async def test_lone_surrogates_do_no_harm():
    async with living() as worker:
        assert (await worker.tokenize("a\ud800b")).units == 3


@pytest.mark.parametrize("stop", ["END", "E", "END OF"])
async def test_stop_texts_end_a_run(stop):
    async with living(answer="hello END OF it") as worker:
        said, stats = await answer(worker, "x", 100, (stop,))
        assert said == "hello "
        assert stats.reason == "stop"
        assert stats.generated_tokens == len("hello " + stop)


async def test_what_is_too_long_for_a_frame_is_the_clients_mistake():
    async with living() as worker:
        with pytest.raises(RequestError, match="stop, format and tools are too long") as refused:
            await answer(worker, "x", stop=tuple(f"stop {number}" for number in range(40_000)))
        assert refused.value.code is Code.BAD_REQUEST
        assert (await answer(worker, "x"))[0] == expected("x", 5)


async def test_what_is_not_a_stop_text_comes_in_the_end():
    async with living(answer="hello EN") as worker:
        assert (await answer(worker, "x", 100, ("END",)))[0] == "hello EN"


async def test_characters_come_whole():
    data = "aß🙂".encode() + b"\xff" + "é".encode() + b"\xf0\x9f"
    async with living(answer=data.decode("latin-1")) as worker:
        run = worker.run(prompt("x"), GREEDY, Limits(100))
        pieces = [item.text async for item in run if isinstance(item, Piece)]
        assert pieces == ["a", "ß", "🙂", "\ufffd", "é", "\ufffd"]


async def test_tokenize_and_cancel_are_answered_during_a_run(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    once = {"once": str(tmp_path / "once")}
    async with living(trouble={"token 2": "wait"}, gate=str(gate), **once) as worker:
        run = worker.run(prompt("x"), GREEDY, Limits(100))
        behind = worker.run(prompt("behind"), GREEDY, Limits(100))
        assert (await worker.tokenize("hello")).units == 5
        behind.cancel()
        behind.cancel()
        stats = await behind
        assert (stats.reason, stats.prompt_tokens, stats.generated_tokens) == ("cancelled", 0, 0)
        run.cancel()
        assert (await worker.tokenize("hello")).units == 5
        assert not run.ended
        await asyncio.to_thread(gate.write_bytes, b"go")
        stats = await run
        assert (stats.reason, stats.generated_tokens) == ("cancelled", 3)
        run.cancel()
        assert worker.held == prompt("x" + expected("x", 3))
        assert (await answer(worker, "y"))[0] == expected("y", 5)


async def test_a_cancelled_save_is_none(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with living(trouble={"prefill": "wait"}, gate=str(gate)) as worker:
        save = worker.save_state(tmp_path / "s", prompt("x" * 300))
        behind = worker.save_state(tmp_path / "t", prompt("y"))
        with await asyncio.to_thread(gate.open, "wb"):  # The first one stands at its gate.
            save.cancel()
            behind.cancel()
            assert await behind is None
        assert await save is None
        assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("how", ["iterate", "await"])
async def test_cancelling_a_task_cancels_its_run(tmp_path, how):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with living(trouble={"token 2": "wait"}, gate=str(gate)) as worker:
        run = worker.run(prompt("x"), GREEDY, Limits(1_000_000_000))

        async def listen():
            if how == "await":
                await run
            async for _ in run:
                pass

        task = asyncio.create_task(listen())
        await asyncio.to_thread(gate.write_bytes, b"go")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ended = asyncio.Event()
        run.when_ended(ended.set)
        await ended.wait()
        assert run.result.reason == "cancelled"
        assert (await worker.tokenize("channel")).units == 7


async def test_leaving_ends_the_iteration_and_not_the_run(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    async with living(trouble={"prefill": "wait"}, gate=str(gate)) as worker:
        run = worker.run(prompt("x"), GREEDY, Limits(1_000_000_000))
        with await asyncio.to_thread(gate.open, "wb"):  # It stands at its gate.
            run.cancel()
            run.leave()
            assert [item async for item in run] == []
            assert not run.ended
        assert (await run).reason == "cancelled"
        assert [item async for item in run] == []


async def test_an_overdue_cancel_replaces_the_worker(tmp_path):
    limits = {"restarts_max": 0}
    async with living(
        0.05, limits, trouble={"token 1": "hang"}, once=str(tmp_path / "o")
    ) as worker:
        run = worker.run(prompt("x"), GREEDY, Limits(5))
        assert isinstance(await anext(run), PrefillProgress)
        assert isinstance(await anext(run), Piece)
        run.cancel()
        with pytest.raises(WorkerLost, match=r"did not stop within 0\.05 s"):
            await run
        await ready_again(worker)
        assert [end.kind for end in worker.ends] == [EndKind.OVERDUE]
        assert (await answer(worker, "y"))[0] == expected("y", 5)


DEATHS = [
    *[
        (place, "abort")
        for place in ("load", "prefill", "token 3", "save", "load_state", "tokenize")
    ],
    *[(place, "kill") for place in ("load", "token 0", "embed")],
    *[(place, "close") for place in ("load", "token 3")],
]


async def use_all(worker, path):
    """Every place where trouble can wait."""
    await worker.save_state(path, prompt("system"))
    await worker.load_state(path)
    await worker.tokenize("x")
    await worker.embed("x", "last", normalize=False)
    await answer(worker, "x" * 100)


@pytest.mark.parametrize(("place", "trouble"), DEATHS)
async def test_a_death_costs_what_was_open_only(tmp_path, place, trouble):
    once = tmp_path / "once"
    async with living(trouble={place: trouble}, once=str(once)) as worker:
        if place != "load":
            with pytest.raises(WorkerLost) as lost:
                await use_all(worker, tmp_path / "state")
            assert lost.value.code is Code.ENGINE_CRASHED
            assert worker.state is State.STARTING
            assert worker.held is None
            with pytest.raises(WorkerLost):  # who asks now had not heard of the death
                worker.run(prompt("x"), GREEDY, Limits(1))
            await ready_again(worker)
        assert len(worker.ends) == 1
        await use_all(worker, tmp_path / "state")


async def test_a_kill_from_outside_fails_every_open_call(tmp_path):
    os.mkfifo(tmp_path / "gate")
    options = {"trouble": {"token 2": "wait"}, "gate": str(tmp_path / "gate")}
    async with living(**options) as worker:
        run = worker.run(prompt("x"), GREEDY, Limits(5))
        behind = worker.embed("x", "last", normalize=False)
        assert isinstance(await anext(run), PrefillProgress)
        os.kill(worker.pid, signal.SIGKILL)
        heard = []
        with pytest.raises(WorkerLost, match=r"signal 9 \(SIGKILL, perhaps because memory ran out"):
            heard += [item async for item in run]
        with pytest.raises(WorkerLost):
            await behind
        assert worker.ended.kind is EndKind.SIGNAL
        assert worker.ended.code == signal.SIGKILL
        await ready_again(worker)


async def test_an_exit_status_is_told(tmp_path):
    once = tmp_path / "once"
    async with living(trouble={"prefill": "exit 3"}, once=str(once)) as worker:
        with pytest.raises(WorkerLost, match="ended with status 3"):
            await answer(worker, "x")
        assert (worker.ended.kind, worker.ended.code) == (EndKind.STATUS, 3)


async def test_the_signals_of_a_terminal_and_of_systemd_do_nothing():
    async with living() as worker:
        os.kill(worker.pid, signal.SIGINT)
        os.kill(worker.pid, signal.SIGTERM)
        assert (await answer(worker, "x"))[0] == expected("x", 5)
        assert os.getpgid(worker.pid) == worker.pid
        adjustment = Path(f"/proc/{worker.pid}/oom_score_adj").read_text()
        assert int(adjustment) == 500


@pytest.mark.parametrize("place", ["prefill", "token 2", "save", "load_state", "tokenize"])
async def test_silence_is_a_hang(tmp_path, place):
    limits = {"hang_s": 0.3}
    once = tmp_path / "once"
    async with living(limits=limits, trouble={place: "hang"}, once=str(once)) as worker:
        with pytest.raises(WorkerLost, match=r"no progress for 0\.3 s") as lost:
            await use_all(worker, tmp_path / "state")
        assert lost.value.code is Code.ENGINE_HUNG
        assert worker.ended.kind is EndKind.SILENCE
        await ready_again(worker)


async def test_tokenizing_does_not_hide_a_hang():
    async with living(limits={"hang_s": 0.3}, trouble={"prefill": "hang"}) as worker:
        run = worker.run(prompt("x"), GREEDY, Limits(1))
        while not run.ended:
            with suppress(WorkerLost, StateError):
                await worker.tokenize("x")
        with pytest.raises(WorkerLost, match="no progress"):
            await run


async def test_a_load_that_never_ends_is_given_up():
    limits = {"load_s": 0.3, "restarts_max": 1}
    worker = Watched({"trouble": {"load": "hang"}}, **limits)
    async with worker:
        with pytest.raises(WorkerLost, match="did not load the model") as lost:
            await worker.start()
        assert lost.value.code is Code.ENGINE_HUNG
        assert worker.state is State.FAILED
        assert len(worker.ends) == 2


async def test_a_spent_budget_fails_the_model_and_a_start_begins_anew(tmp_path):
    worker = Watched({"trouble": {"load": "abort"}}, restarts_max=1)
    async with worker:
        for _ in range(2):
            with pytest.raises(WorkerLost, match="died 2 times"):
                await worker.start()
            assert worker.state is State.FAILED
            assert "SIGABRT" in worker.reason
        assert len(worker.ends) == 4
        with pytest.raises(StateError, match="parrot is failed"):
            worker.tokenize("x")


async def test_a_refused_model_fails_at_once():
    worker = Watched({"trouble": {"load": "refuse"}})
    async with worker:
        with pytest.raises(RkllmdError, match="the engine will not") as refused:
            await worker.start()
        assert refused.value.details == {"message": "details", "code": 7}
        assert (worker.state, worker.ends, worker.pid) == (State.FAILED, [], None)


async def test_an_engine_that_is_not_there_fails_the_model():
    async with Watched({}, engine="tests.fakes.no_such_engine") as worker:
        with pytest.raises(RkllmdError, match="ModuleNotFoundError") as refused:
            await worker.start()
        assert refused.value.code is Code.LOAD_FAILED


@pytest.mark.parametrize(
    ("trouble", "code", "said"),
    [
        ("memory", Code.OUT_OF_MEMORY, "MemoryError"),
        ("bug", Code.ENGINE_ERROR, "ZeroDivisionError: a mistake"),
        ("refuse", Code.ENGINE_ERROR, "the engine will not"),
    ],
)
async def test_an_error_costs_its_run_only(trouble, code, said):
    async with living(trouble={"token 3": trouble}) as worker:
        pid = worker.pid
        with pytest.raises(RkllmdError, match=said) as error:
            await answer(worker, "x")
        assert error.value.code is code
        assert worker.held == prompt("" if trouble != "refuse" else "x" + expected("x", 3))
        assert (await answer(worker, "y", 3))[0] == expected("y", 3)
        assert worker.pid == pid


async def test_an_engine_that_cannot_be_reset_dies(tmp_path):
    trouble = {"token 3": "bug", "reset": "bug"}
    async with living(trouble=trouble) as worker:
        with pytest.raises(WorkerLost, match="status 1; it last printed: ZeroDivisionError"):
            await answer(worker, "x")


async def test_errors_keep_their_code_and_details():
    async with living(context=10) as worker:
        with pytest.raises(RkllmdError) as error:
            await answer(worker, "x" * 11)
        assert error.value.code is Code.CONTEXT_OVERFLOW
        assert error.value.details == {"allowed": 10}
        with pytest.raises(RkllmdError, match="no state"):
            await worker.load_state(Path("/nowhere/at/all"))


async def test_what_is_printed_is_logged_and_explains_a_death(tmp_path, caplog):
    caplog.set_level("INFO", "rkllmd.worker")
    trouble = {"prefill": "noise", "token 0": "segv"}
    async with living(trouble=trouble) as worker:
        with pytest.raises(WorkerLost, match="SIGSEGV") as lost:
            await answer(worker, "x")
        lines = worker.ended.last_lines
        assert lines[:2] == ("on stdout", "on stderr \ufffd\ufffd\ufffd[31m")
        assert lines[2] == "x" * 2000 + "…"
        assert lines[3] == "last"
        assert "Fatal Python error: Segmentation fault" in lines
        assert lost.value.details["last_lines"] == list(lines[-5:])
        assert "parrot: on stdout" in caplog.messages


async def test_stopping_in_the_middle_of_everything(tmp_path):
    os.mkfifo(tmp_path / "gate")
    options = {"trouble": {"token 2": "wait"}, "gate": str(tmp_path / "gate")}
    async with living(**options) as worker:
        run = worker.run(prompt("x"), GREEDY, Limits(5))
        await worker.stop()
        with pytest.raises(StateError, match="parrot was unloaded"):
            await run
        assert worker.state is State.STOPPED
        assert worker.ends == []
        await worker.stop()
        with pytest.raises(StateError, match="is stopped"):
            worker.tokenize("x")


@pytest.mark.parametrize("steps", range(1, 12, 3))
async def test_stopping_while_starting(steps):
    async with Watched({}) as worker:
        starting = asyncio.create_task(worker.start())
        for _ in range(steps):
            await asyncio.sleep(0)
        await worker.stop()
        with pytest.raises(StateError):
            await starting


async def test_a_hundred_calls_at_once():
    async with living() as worker:
        texts = [f"number {n}" for n in range(100)]
        answers, tokens = await asyncio.gather(
            asyncio.gather(*[answer(worker, text) for text in texts]),
            asyncio.gather(*[worker.tokenize(text) for text in texts]),
        )
        assert [said for said, _ in answers] == [expected(text, 5) for text in texts]
        assert tokens == [prompt(text) for text in texts]


async def test_two_hundred_runs_leave_no_descriptor():
    async with living() as worker:
        await answer(worker, "warm")
        ours, theirs = Path("/proc/self/fd"), Path(f"/proc/{worker.pid}/fd")
        before = len(list(ours.iterdir())), len(list(theirs.iterdir()))
        for n in range(200):
            await answer(worker, f"run {n}", 2)
        assert (len(list(ours.iterdir())), len(list(theirs.iterdir()))) == before


async def test_text_prompts_are_taken_too():
    async with living() as worker:
        with pytest.raises(RkllmdError, match="AssertionError"):
            await worker.run(Prompt.of_text("x"), GREEDY, Limits(1))
