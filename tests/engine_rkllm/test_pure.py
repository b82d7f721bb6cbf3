"""The rules that need no runtime: counting, meanings of log lines, state files."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.engine.rkllm.counts import Counter, Measured
from rkllmd.engine.rkllm.messages import (
    context_limit,
    driver_version,
    load_error,
    refuses_state,
    run_table,
)
from rkllmd.engine.rkllm.state_file import count_tokens
from rkllmd.errors import Code, EngineError
from rkllmd.native.handle import Perf

TABLE = """
I rkllm:  Stage         Total Time (ms)  Tokens    Time per Token (ms)      Tokens per Second
I rkllm:  Init          189073.94        /         /                        /
I rkllm:  Prefill       1523.53          47        32.42                    30.85
I rkllm:  Generate      308636.08        999       308.95                   3.24
"""


@given(
    prompt=st.integers(1, 4000),
    cached=st.integers(0, 4000),
    sampled=st.integers(1, 300),
    lag=st.sampled_from([0, 1]),
)
def test_counts_are_those_of_a_runtime_whose_lag_was_seen(
    prompt: int, cached: int, sampled: int, lag: int
) -> None:
    cached = min(cached, prompt)
    counter = Counter()
    clean = Measured(4 * prompt, prompt, 0, 0, prompt + sampled - lag, sampled, "ended")
    assert counter.prompt_tokens(clean) == prompt
    again = Measured(
        4 * prompt, prompt - cached, max(cached, 1), 0, prompt + sampled - lag, sampled, "ended"
    )
    assert counter.prompt_tokens(again) == prompt


@given(
    prompt=st.integers(1, 4000),
    prefilled=st.integers(0, 4000),
    held=st.integers(0, 4000),
    shareable=st.integers(0, 4000),
    after=st.none() | st.integers(0, 9000),
    sampled=st.integers(0, 300),
)
def test_no_count_is_impossible(
    prompt: int, prefilled: int, held: int, shareable: int, after: int | None, sampled: int
) -> None:
    shareable = min(shareable, held)
    tokens = Counter(tokens_per_byte=0.25).prompt_tokens(
        Measured(prompt, prefilled, held, shareable, after, sampled, "ended")
    )
    assert prefilled <= tokens <= prefilled + held


@pytest.mark.parametrize(
    ("prompt_bytes", "prefilled", "tokens"),
    [
        (4000, 60, 960),  # 900 were shared
        (4000, 1000, 1000),  # they were not
        (100, 25, 25),  # another, short prompt
        (3600, 0, 900),  # nothing was new
    ],
)
def test_without_a_count_of_what_is_held_sharing_is_judged_by_length(
    prompt_bytes: int, prefilled: int, tokens: int
) -> None:
    counter = Counter(tokens_per_byte=0.25)
    measured = Measured(prompt_bytes, prefilled, 900, 900, None, 5, "ended")
    assert counter.prompt_tokens(measured) == tokens


@pytest.mark.parametrize(
    ("log", "code", "word"),
    [
        ("E rkllm: max_context[16384] must be less than the model's max_context_limit[4096]",
         Code.LOAD_FAILED, "4096"),
        ("The number of enabled CPUs must be greater than or equal to the number of NPU cores.",
         Code.LOAD_FAILED, "cpus"),
        ("E RKNN: failed to malloc npu memory!", Code.OUT_OF_MEMORY, "unload"),
        ("failed to allocate handle, ret: -1, errno: 14, errstr: Bad address",
         Code.OUT_OF_MEMORY, "base_domain_id"),
        ("Too many open files", Code.LOAD_FAILED, "LimitNOFILE"),
        ("invalid rknn llm model magic", Code.LOAD_FAILED, "convert"),
        ("a\n\nlast word\n", Code.LOAD_FAILED, "last word"),
        ("", Code.LOAD_FAILED, "did not say why"),
    ],
)  # fmt: skip
def test_a_failed_load_has_a_remedy(log: str, code: Code, word: str) -> None:
    error = load_error(log)
    assert error.code is code
    assert word in error.message


def test_facts_are_read_from_the_log() -> None:
    log = (
        "I rkllm: rkllm-runtime version: 1.2.3, rknpu driver version: 0.9.8, platform: RK3588\n"
        "I rkllm: rkllm-toolkit version: 1.2.3, max_context_limit: 16384, npu_core_num: 3\n"
    )
    assert context_limit(log) == 16384
    assert driver_version(log) == "0.9.8"
    assert context_limit("") is None
    assert driver_version("") is None
    assert not refuses_state(log)
    assert refuses_state("The qwen35 model does not support saving prompt cache!")
    assert run_table(log + TABLE) == Perf(47, 1523.53, 308636.08)
    assert run_table(log) is None


@given(st.text())
def test_no_log_breaks_its_reader(log: str) -> None:
    load_error(log)
    context_limit(log)
    run_table(log)


@given(st.binary(max_size=200))
def test_a_state_file_is_whole_or_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "state"
    file.write_bytes(content)
    try:
        tokens = count_tokens(file)
    except EngineError as error:
        assert error.code is Code.ENGINE_ERROR
    else:
        assert 0 < tokens <= (len(content) - 28) // 4


def test_a_state_file_says_how_many_tokens(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_bytes(struct.pack("<III", 0, 8, 3) + bytes(3 * 4) + bytes(100))
    assert count_tokens(file) == 3
    with pytest.raises(EngineError, match="No such file"):
        count_tokens(tmp_path / "gone")
