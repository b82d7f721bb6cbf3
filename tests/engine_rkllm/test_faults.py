"""Each fault of the simulated runtime once: a clear error, and an engine or a machine that goes on.

What kills or hangs the process happens in one of its own, as it would in the worker.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from rkllmd.engine.contract import Engine
from rkllmd.engine.rkllm.engine import NOTHING
from rkllmd.errors import Code, RkllmdError
from rkllmd.runs import Ability
from tests.engine_rkllm.conftest import Script
from tests.engine_rkllm.stories import SYSTEM, answer, opened, save, turn
from tests.fakes.rkllm.built import NEWEST, built, make_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["1.2.0", NEWEST])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model.rkllm")


@pytest.fixture
def engine(version: str, model: Path, script: Script) -> Iterator[Engine]:
    script("none=1")
    loaded = opened(built(version), model)
    yield loaded
    loaded.close()


def goes_on(engine: Engine, script: Script) -> None:
    script("none=1")
    assert answer(engine, turn("hello"))[0]


def story(version: str, model: Path, name: str, *, seconds: float = 20) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine_rkllm.stories", built(version), model, name],
        cwd=ROOT, text=True, errors="replace", check=False, timeout=seconds,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("fault", "name", "status"),
    [
        ("init=crash", "answer", -signal.SIGSEGV),
        ("init=abort", "answer", -signal.SIGABRT),
        ("prefill=crash", "answer", -signal.SIGSEGV),
        ("token.3=crash", "answer", -signal.SIGSEGV),
        ("token.2=exit", "answer", 3),
        ("save=crash", "save", -signal.SIGSEGV),
        ("load=crash", "load", -signal.SIGSEGV),
    ],
)
def test_a_crash_dies_of_its_signal_and_its_last_lines_are_heard(
    fault: str, name: str, status: int, model: Path, script: Script
) -> None:
    if name == "load":
        engine = opened(built(NEWEST), model)
        save(engine, model.parent / "story.state")
        engine.close()
    script(fault + ";noise=1")
    code, output = story(NEWEST, model, name)
    assert code == status
    assert "E rkllm:" in output
    assert "the end" not in output


@pytest.mark.parametrize(
    ("fault", "name"),
    [("init=hang", "answer"), ("prefill=hang", "answer"), ("token.2=hang", "answer"),
     ("save=hang", "save")],
)  # fmt: skip
def test_a_hang_can_be_killed_and_leaves_no_process(
    fault: str, name: str, model: Path, script: Script
) -> None:
    script(fault + ";noise=1")
    reading, writing = os.pipe()
    hung = subprocess.Popen(
        [sys.executable, "-m", "tests.engine_rkllm.stories", built(NEWEST), model, name],
        cwd=ROOT, stdout=writing, stderr=subprocess.STDOUT,
    )  # fmt: skip
    os.close(writing)
    with os.fdopen(reading, "rb") as output:
        output.read(1)  # it has begun to load
        hung.kill()
        assert hung.wait() == -signal.SIGKILL
        output.read()  # ends only when everybody who wrote to it, `tee` too, is gone


def test_init_that_fails_says_so(version: str, model: Path, script: Script) -> None:
    script("init=error")
    with pytest.raises(RkllmdError) as caught:
        opened(built(version), model)
    assert caught.value.code is Code.LOAD_FAILED
    again = opened_after(version, model, script)
    goes_on(again, script)
    again.close()


def opened_after(version: str, model: Path, script: Script) -> Engine:
    script("none=1")
    return opened(built(version), model)


def test_no_memory_on_the_npu(version: str, model: Path, script: Script) -> None:
    script("init=oom")
    with pytest.raises(RkllmdError) as caught:
        opened(built(version), model)
    assert caught.value.code is Code.OUT_OF_MEMORY


def test_a_failure_that_calls_itself_success(version: str, model: Path, script: Script) -> None:
    script("init=silent")
    with pytest.raises(RkllmdError) as caught:
        opened(built(version), model)
    assert caught.value.code is Code.LOAD_FAILED


def test_a_context_over_the_models_limit(version: str, model: Path) -> None:
    with pytest.raises(RkllmdError, match="4096") as caught:
        opened(built(version), model, context_tokens=8192)
    assert caught.value.details["context_limit"] == 4096


def test_too_few_cpus(model: Path) -> None:
    with pytest.raises(RkllmdError, match="more NPU cores"):
        opened(built(NEWEST), model, options={"cpus": (4, 5)})
    opened(built(NEWEST), model, options={"cpus": (4, 5, 6)}).close()


@pytest.mark.parametrize("content", [None, b"", b"RKLLM 1.0", b"\0" * 100])
def test_what_is_no_model(content: bytes | None, tmp_path: Path) -> None:
    model = tmp_path / "model.rkllm"
    if content is not None:
        model.write_bytes(content)
    with pytest.raises(RkllmdError) as caught:
        opened(built(NEWEST), model)
    assert caught.value.code is Code.LOAD_FAILED


@pytest.mark.parametrize("fault", ["prefill=error", "token.1=error", "token.4=error"])
def test_a_run_that_fails_leaves_an_engine_that_goes_on(
    fault: str, engine: Engine, script: Script
) -> None:
    script(fault)
    with pytest.raises(RkllmdError) as caught:
        answer(engine, turn("hello"))
    assert caught.value.code is Code.ENGINE_ERROR
    assert engine.held() == NOTHING
    goes_on(engine, script)


@pytest.mark.parametrize("fault", ["save=error", "save=torn", "save=empty", "save=none"])
def test_a_state_that_was_not_saved_whole_is_no_state(
    fault: str, engine: Engine, script: Script, tmp_path: Path
) -> None:
    script(fault)
    with pytest.raises(RkllmdError) as caught:
        save(engine, tmp_path / "state")
    assert caught.value.code is Code.ENGINE_ERROR
    goes_on(engine, script)
    assert save(engine, tmp_path / "state").tokens > 10


@pytest.mark.parametrize("fault", ["save=error", "save=torn", "save=none"])
def test_a_full_disk_is_told_as_such(
    fault: str, engine: Engine, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(fault)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=4096))
    with pytest.raises(RkllmdError) as caught:
        save(engine, tmp_path / "state")
    assert caught.value.code is Code.STORAGE_FULL


@pytest.mark.parametrize("fault", ["load=error", "cut", "empty", "other", "gone"])
def test_a_state_that_does_not_fit_is_refused(
    fault: str, engine: Engine, script: Script, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    save(engine, state)
    whole = state.read_bytes()
    match fault:
        case "cut":
            state.write_bytes(whole[: len(whole) // 2])
        case "empty":
            state.write_bytes(b"")
        case "other":
            state.write_bytes(whole[:-8] + bytes(8))
        case "gone":
            state.unlink()
        case _:
            script(fault)
    with pytest.raises(RkllmdError) as caught:
        engine.load_state(state)
    assert caught.value.code is Code.ENGINE_ERROR
    assert engine.held() == NOTHING
    script("none=1")
    _, stats = answer(engine, turn("hello"))
    assert stats.cached_tokens == 0
    state.write_bytes(whole)
    assert engine.load_state(state) > 0


def test_a_model_that_cannot_keep_its_state(version: str, tmp_path: Path, script: Script) -> None:
    engine = opened_after(version, make_model(tmp_path / "m.rkllm", kind="linear"), script)
    first = answer(engine, turn("hello"))
    again = answer(engine, turn("hello"))
    assert again[0] == first[0]
    assert again[1].cached_tokens == 0
    assert engine.facts.capabilities.state_files.ability is Ability.UNKNOWN
    with pytest.raises(RkllmdError) as caught:
        save(engine, tmp_path / "state")
    assert caught.value.code is Code.UNSUPPORTED
    assert engine.facts.capabilities.state_files.ability is Ability.NO
    engine.close()


def test_noise_is_not_mistaken_for_anything(engine: Engine, script: Script) -> None:
    quiet = answer(engine, turn("hello"))[0]
    script("noise=3")
    said, stats = answer(engine, turn("hello"))
    assert said == quiet
    assert stats.prompt_tokens > 10


def test_a_late_finish_is_waited_for(engine: Engine, script: Script) -> None:
    quiet, counted = answer(engine, turn("hello"))
    engine.reset()
    script("late_finish_ms=20")
    said, stats = answer(engine, turn("hello"))
    assert said == quiet
    assert stats.reason == counted.reason
    goes_on(engine, script)


def test_an_abort_that_is_ignored_for_a_while(engine: Engine, script: Script) -> None:
    whole, _ = answer(engine, turn("hello"))
    script("ignore_abort_ms=20;token_us=2000")
    asked = iter([False, False, True])
    said, stats = answer(engine, turn("hello"), should_stop=lambda: next(asked, True))
    assert stats.reason == "cancelled"
    assert whole.startswith(said)
    goes_on(engine, script)


def test_a_fault_can_be_meant_for_one_prompt(engine: Engine, script: Script) -> None:
    script("match=poison;token.1=error")
    assert answer(engine, turn("hello"))[0]
    with pytest.raises(RkllmdError):
        answer(engine, turn("poison"))


def test_a_fault_can_happen_once(model: Path, script: Script, tmp_path: Path) -> None:
    script("token.2=crash once")
    assert story(NEWEST, model, "answer")[0] == -signal.SIGSEGV
    assert not (tmp_path / "script").exists()
    assert story(NEWEST, model, "answer")[0] == 0


def test_the_prompt_is_not_wrapped_by_the_runtime(engine: Engine) -> None:
    _, stats = answer(engine, "lamp")
    assert stats.prompt_tokens == 1
    assert len(SYSTEM) > 1
