"""A handle against the simulated runtime of every layout, which dies of a wrong byte."""

import ctypes
import os
import subprocess
import sys
import threading
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rkllmd.native.functions import CallFailed
from rkllmd.native.handle import SPARE_BYTES, Embeddings, Event, Handle, Init, Request, Tags
from rkllmd.native.layouts import Layout
from rkllmd.native.library import Library, open_library
from rkllmd.native.rkllm import CallState, InferMode
from rkllmd.runs import GREEDY, Sampling
from tests.fakes.rkllm import device
from tests.fakes.rkllm.built import NEWEST, VERSIONS, built, make_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=VERSIONS)
def library(request: pytest.FixtureRequest) -> Library:
    return open_library(str(built(request.param)))


@pytest.fixture
def handle(library: Library, tmp_path: Path) -> Iterator[Handle]:
    opened = Handle(library, init(tmp_path))
    yield opened
    opened.close()


def init(folder: Path, **more: Any) -> Init:
    model = make_model(folder / "model.rkllm")
    return Init(**{"model_path": model, "context_tokens": 512, "new_tokens": 64,
                   "sampling": Sampling(), **more})  # fmt: skip


def ask(prompt: str = "hello", **more: Any) -> Request:
    return Request(**{"prompt": prompt, "mode": InferMode.GENERATE, "new_tokens": 12,
                      "sampling": Sampling(), **more})  # fmt: skip


def test_a_run_tells_every_token_and_then_finish(handle: Handle) -> None:
    events: list[Event] = []
    handle.run(ask(), events.append)
    assert [event.state for event in events].count(CallState.FINISH) == 1
    assert events[-1].state is CallState.FINISH
    assert b"".join(event.text for event in events).decode()


def test_nothing_is_written_behind_any_struct(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Any, Any]] = []

    def guarded(self: Handle, struct: str) -> Any:
        type_ = library.types[struct]
        made = type_.from_buffer(bytearray(ctypes.sizeof(type_)) + b"\xa5" * SPARE_BYTES)
        given.append((struct, made))
        return made

    monkeypatch.setattr(Handle, "_zeroed", guarded)
    handle = Handle(library, init(tmp_path, cpus=(4, 5, 6, 7), embed_flash=True, base_domain_id=1))
    adapter = tmp_path / "adapter"
    adapter.write_text("an adapter")
    handle.load_lora("kitchen", adapter, 0.5)
    handle.set_empty_template()
    handle.run(ask(lora="kitchen", save_to=tmp_path / "state"), lambda event: None)
    handle.run(ask(mode=InferMode.GET_LAST_HIDDEN_LAYER), lambda event: None)
    handle.clear()
    handle.load_cache(tmp_path / "state")
    handle.release_cache()
    handle.close()
    assert {name for name, _ in given} >= {"RKLLMParam", "RKLLMInput", "RKLLMLoraAdapter"}
    for name, made in given:
        behind = ctypes.string_at(ctypes.addressof(made) + ctypes.sizeof(made), SPARE_BYTES)
        assert behind == b"\xa5" * SPARE_BYTES, name


def test_what_a_listener_raises_ends_the_run_and_nothing_else(handle: Handle) -> None:
    def refuse(event: Event) -> None:
        raise KeyError(event.token)

    with pytest.raises(KeyError):
        handle.run(ask(), refuse)
    events: list[Event] = []
    handle.run(ask(), events.append)
    assert len(events) > 2


def test_abort_in_the_callback_ends_the_run(handle: Handle) -> None:
    events: list[Event] = []

    def one(event: Event) -> None:
        events.append(event)
        handle.abort()

    handle.run(ask(), one)
    assert [event.state for event in events] == [CallState.NORMAL, CallState.FINISH]


def test_finish_may_come_late_and_from_a_thread(
    handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RKLLM_SIM_SCRIPT", "late_finish_ms=30")
    threads: list[int] = []
    for _ in range(3):
        handle.run(ask(), lambda event: threads.append(threading.get_ident()))
        assert threads[-1] != threading.get_ident()
    monkeypatch.setenv("RKLLM_SIM_SCRIPT", "")
    handle.run(ask(), lambda event: threads.append(threading.get_ident()))
    assert threads[-1] == threading.get_ident()


def test_an_abort_that_is_ignored_for_a_while_still_ends(
    handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RKLLM_SIM_SCRIPT", "ignore_abort_ms=20;token_us=1000")
    events: list[Event] = []

    def stop(event: Event) -> None:
        events.append(event)
        handle.abort()

    handle.run(ask(new_tokens=500), stop)
    assert len(events) > 2
    assert events[-1].state is CallState.FINISH


def test_rows_are_copied_and_their_buffer_given_back(library: Library, tmp_path: Path) -> None:
    handle = Handle(library, init(tmp_path))
    handle.set_empty_template()
    rows = []
    for _ in range(2):
        handle.clear()
        handle.run(
            ask("four words of rain", mode=InferMode.GET_LAST_HIDDEN_LAYER),
            lambda event: rows.append(event.rows) if event.rows else None,
        )
    assert (rows[0].count, rows[0].width) == (4, 16)
    assert rows[0] == rows[1]
    assert len(rows[0].values) == 4 * 16 * 4
    kept = ctypes.CDLL(str(library.path)).simulated_kept_outputs
    kept.argtypes = (ctypes.c_void_p,)
    assert kept(handle._pointer) == (0 if library.layout >= Layout.V1_3_0 else 2)
    handle.close()


def test_the_last_tokens_logits_say_what_comes_next(library: Library, tmp_path: Path) -> None:
    if library.layout < Layout.V1_2_0:
        pytest.skip("it has no logits")
    handle = Handle(library, init(tmp_path))
    handle.set_empty_template()
    for prompt in ("hello", "four words of rain"):
        events: list[Event] = []
        handle.clear()
        handle.run(ask(prompt, sampling=GREEDY), events.append)
        said = events[0].token
        events.clear()
        handle.clear()
        handle.run(ask(prompt, mode=InferMode.GET_LOGITS), events.append)
        (rows,) = [event.rows for event in events if event.rows]
        logits = array("f", rows.values)
        assert len(logits) == rows.width
        assert logits.index(max(logits)) == said
    handle.close()


IMAGE_TAGS = Tags("<|vision_start|>", "<|vision_end|>", "<|image_pad|>")


def test_nothing_lies_behind_what_an_image_needs(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `test_nothing_is_written_behind_any_struct`, with images."""
    given: list[Any] = []

    def guarded(self: Handle, struct: str) -> Any:
        type_ = library.types[struct]
        made = type_.from_buffer(bytearray(ctypes.sizeof(type_)) + b"\xa5" * SPARE_BYTES)
        given.append(made)
        return made

    monkeypatch.setattr(Handle, "_zeroed", guarded)
    handle = Handle(library, init(tmp_path, image_tags=IMAGE_TAGS))
    said = []
    for number in (1.0, 2.0):
        events: list[Event] = []
        values = array("f", [number] * 32).tobytes()
        handle.clear()
        handle.run(
            ask("<image>what", images=Embeddings(values, 1, 2, IMAGE_TAGS, 392, 392)), events.append
        )
        said.append(b"".join(event.text for event in events))
    assert said[0] != said[1]
    handle.close()
    for made in given:
        behind = ctypes.string_at(ctypes.addressof(made) + ctypes.sizeof(made), SPARE_BYTES)
        assert behind == b"\xa5" * SPARE_BYTES


@pytest.mark.parametrize(
    ("version", "prompt", "more", "words"),
    [
        ("1.1.4", "hello", "", "that the prompt has no place for"),
        ("1.2.0", "<image>", "values=array('f', [float('nan')] * 32).tobytes()", "value 0 of 32"),
        ("1.2.1b1", "<image>", "rows=0", "1 of 0 tokens each"),
        ("1.2.3", "<image>", "rows=1 << 19", "is not readable"),
        ("1.2.3", "<image>", "tags=Tags('', '', '')", "the content tag is empty"),
        ("1.3.0", "<image>", "tags=Tags('a', 'b', 'c d')", "is not one token"),
        ("1.3.1", "<image><image>", "", "has more <image> than were given"),
    ],
)
def test_the_double_does_not_take_any_image(
    version: str, prompt: str, more: str, words: str, tmp_path: Path
) -> None:
    program = (
        "import sys; from array import array; from pathlib import Path\n"
        "from rkllmd.native.handle import *; from rkllmd.native.library import open_library\n"
        "from rkllmd.native.rkllm import InferMode\n"
        "given = {'values': bytes(128), 'count': 1, 'rows': 2,\n"
        f"    'tags': Tags('<|a|>', '<|b|>', '<|c|>')}} | dict({more})\n"
        "handle = Handle(open_library(sys.argv[1]),\n"
        "    Init(Path(sys.argv[2]), 512, 64, Sampling(), image_tags=given['tags']))\n"
        "handle.run(Request(sys.argv[3], InferMode.GENERATE, 4, Sampling(),\n"
        "    images=Embeddings(**given)), print)\n"
    )
    model = make_model(tmp_path / "model.rkllm")
    died = subprocess.run(
        [sys.executable, "-c", program, str(built(version)), str(model), prompt],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert died.returncode != 0
    assert words in died.stderr, died.stderr


def test_a_failed_load_that_calls_itself_a_success_is_none(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RKLLM_SIM_SCRIPT", "init=silent")
    with pytest.raises(CallFailed):
        Handle(library, init(tmp_path))


def test_the_npu_gets_its_handle_back(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = tmp_path / "renderD129"
    node.write_text("")
    monkeypatch.setenv(device.VARIABLE, str(node))
    handle = Handle(library, init(tmp_path))
    assert (device.handles(node), device.holders(node)) == (1, [os.getpid()])
    with pytest.raises(CallFailed):
        Handle(library, init(tmp_path, context_tokens=1 << 19))
    assert device.handles(node) == 1
    handle.close()
    assert (device.handles(node), device.holders(node)) == (0, [])


def test_close_may_come_twice(library: Library, tmp_path: Path) -> None:
    handle = Handle(library, init(tmp_path))
    handle.close()
    handle.close()


@pytest.mark.parametrize(
    ("version", "layout"),
    [("1.3.1", "1.2.1"), ("1.2.3", "1.3.0"), ("1.2.3", "1.1"), ("1.2.0", "1.1")],
)
def test_a_wrong_layout_does_not_get_far(version: str, layout: str, tmp_path: Path) -> None:
    """The double is strict: what would be a crash on a board is named and ends the process."""
    program = (
        "import sys; from pathlib import Path\n"
        "from rkllmd.native.handle import *; from rkllmd.native.library import open_library\n"
        "from rkllmd.native.rkllm import InferMode\n"
        "handle = Handle(open_library(sys.argv[1], sys.argv[2]),\n"
        "    Init(Path(sys.argv[3]), 512, 64, Sampling(), cpus=(4, 5, 6)))\n"
        "handle.run(Request('hello', InferMode.GENERATE, 4, Sampling()), print)\n"
    )
    model = make_model(tmp_path / "model.rkllm")
    died = subprocess.run(
        [sys.executable, "-c", program, str(built(version)), layout, str(model)],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert died.returncode != 0
    assert "RKLLM-SIM VIOLATION" in died.stderr, died.stderr


def test_sampling_reaches_the_library_in_its_own_terms(tmp_path: Path) -> None:
    library = open_library(str(built(NEWEST)))
    handle = Handle(library, init(tmp_path))
    greedy = handle._infer(ask(sampling=GREEDY)).sampling_params.contents
    assert greedy.top_k == 1
    free = handle._infer(ask(sampling=Sampling(top_k=0, temperature=0.5))).sampling_params.contents
    assert (free.top_k, free.temperature) == (1000, 0.5)
    handle.close()
