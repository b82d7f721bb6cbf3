"""Damaged, foreign and hostile model and state files end in a sentence."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rkllmd.engine import open_engine
from rkllmd.engine.tiny.gguf import ENCODINGS, decoded
from rkllmd.engine.tiny.state import HEADER
from rkllmd.errors import Code, EngineError, StorageError
from rkllmd.runs import Adapter, LoadSpec
from tests.engine.contract_suite import answer, save
from tools.gguf_write import Q8_0, encoded, gguf, text, typed
from tools.random_model import Sizes, metadata, tensors, write_random_model

SIZES = Sizes(width=32, layers=1, heads=2, kv_heads=1, inner=32, vocabulary=300, context=64)
DESCRIBED = metadata(SIZES)
WEIGHTS = tensors(SIZES, DESCRIBED, seed=0)
WHOLE = gguf(DESCRIBED, WEIGHTS)
HEAD_BYTES = len(gguf(DESCRIBED, {})) + 50 * len(WEIGHTS)


def load(path, **spec):
    return open_engine("tiny").load(LoadSpec(str(path), **spec), lambda *_: None)


def refusal(path, data, **spec):
    path.write_bytes(data)
    with pytest.raises(EngineError) as refused:
        load(path, **spec)
    assert refused.value.code is Code.LOAD_FAILED
    assert len(refused.value.message) < 500
    return refused.value.message


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("files") / "model.gguf"


@given(end=st.integers(0, len(WHOLE) - 1))
@example(end=0)
@example(end=len(WHOLE) - 1)
def test_a_file_that_is_cut_off(path, end):
    refusal(path, WHOLE[:end])


def test_a_head_that_is_cut_off_anywhere(path):
    small = gguf({"general.architecture": "llama", "n": [1, 2], "f": 1.0, "b": True}, {})
    for end in range(len(small)):
        refusal(path, small[:end])


@settings(max_examples=200)
@given(place=st.integers(0, HEAD_BYTES), value=st.binary(min_size=1, max_size=9))
def test_changed_bytes_give_a_model_or_a_sentence(path, place, value):
    data = bytearray(WHOLE)
    data[place : place + len(value)] = value
    path.write_bytes(data)
    try:
        engine = load(path, context_tokens=64)
    except EngineError as refused:
        assert refused.code is Code.LOAD_FAILED
    else:
        assert engine.tokenize("the light")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("general.architecture", "mamba", "architecture"),
        ("general.architecture", 7, "has to be str"),
        ("general.alignment", 3, "power of two"),
        ("general.alignment", 1 << 31, "power of two"),
        ("llama.vocab_size", 7, "vocab_size"),
        ("llama.context_length", 0, "context_length"),
        ("llama.context_length", (1 << 32) - 1, "context_length"),
        ("llama.embedding_length", 33, "do not make"),
        ("llama.embedding_length", 64, "dimension_count"),
        ("llama.block_count", 0, "block_count"),
        ("llama.block_count", 2, "missing"),
        ("llama.attention.head_count", 0, "head_count"),
        ("llama.attention.head_count", 32, "even"),
        ("llama.attention.head_count_kv", 3, "head_count_kv"),
        ("llama.feed_forward_length", 64, "shape"),
        ("llama.rope.dimension_count", 8, "dimension_count"),
        ("llama.rope.freq_base", float("nan"), "freq_base"),
        ("llama.rope.freq_base", float("inf"), "freq_base"),
        ("llama.rope.freq_base", -1.0, "freq_base"),
        ("llama.rope.scaling.type", "yarn", "scaling"),
        ("llama.attention.layer_norm_rms_epsilon", float("nan"), "epsilon"),
        ("llama.attention.layer_norm_rms_epsilon", 0.0, "epsilon"),
        ("llama.expert_count", 8, "expert_count"),
        ("tokenizer.ggml.model", "llama", "byte-level BPE"),
        ("tokenizer.ggml.pre", "tekken", "known are"),
        ("tokenizer.ggml.tokens", ["a"], "token_type"),
        ("tokenizer.ggml.tokens", [f"<{i}>" for i in range(300)], "byte tokens"),
        ("tokenizer.ggml.tokens", [1, 2], "has to be list"),
        ("tokenizer.ggml.token_type", [1], "token_type"),
        ("tokenizer.ggml.token_type", "x", "token_type"),
        ("tokenizer.ggml.merges", ["nospace"], "two parts"),
        ("tokenizer.ggml.merges", "x", "has to be list"),
        ("tokenizer.ggml.eos_token_id", 300, "eos_token_id"),
        ("tokenizer.ggml.add_bos_token", 1, "has to be bool"),
        ("tokenizer.chat_template", 1, "chat_template"),
    ],
)
def test_metadata_that_cannot_be(path, key, value, reason):
    assert reason in refusal(path, gguf({**DESCRIBED, key: value}, WEIGHTS))


def nan_in(weights):
    broken = weights.copy()
    broken.flat[3] = np.nan
    return broken


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"output_norm.weight": np.ones(31, np.float32)}, "shape"),
        ({"token_embd.weight": np.ones((32, 300), np.float32)}, "shape"),
        ({"token_embd.weight": nan_in(WEIGHTS["token_embd.weight"])}, "not finite"),
        ({"blk.0.attn_q.bias": np.ones(32, np.float32)}, "does not know"),
        ({"rope_freqs.weight": np.zeros(8, np.float32)}, "above 0"),
    ],
)
def test_tensors_that_cannot_be(path, changed, reason):
    assert reason in refusal(path, gguf(DESCRIBED, {**WEIGHTS, **changed}))


def test_a_missing_tensor_is_named(path):
    for name in WEIGHTS:
        rest = {other: values for other, values in WEIGHTS.items() if other != name}
        assert name in refusal(path, gguf(DESCRIBED, rest))


def head(entries: bytes = b"", count: int = 0, tensor_entries: bytes = b"", tensor_count: int = 0):
    return struct.pack("<4sIQQ", b"GGUF", 3, tensor_count, count) + entries + tensor_entries


def entry(name: str, sizes, kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


HUGE = (1 << 64) - 1
HOSTILE = {
    "not a model": b"<html>" * 20,
    "version 1": struct.pack("<4sIII", b"GGUF", 1, 0, 0),
    "other byte order": struct.pack(">4sIQQ", b"GGUF", 3, 0, 0),
    "huge entry count": head(count=HUGE),
    "huge tensor count": head(tensor_count=HUGE),
    "huge key": head(struct.pack("<Q", HUGE), 1),
    "huge list": head(text("k") + struct.pack("<IIQ", 9, 8, HUGE), 1),
    "huge array": head(text("k") + struct.pack("<IIQ", 9, 10, 1 << 61), 1),
    "list of lists": head(text("k") + struct.pack("<IIQ", 9, 9, 1) + bytes(64), 1),
    "unknown type": head(text("k") + struct.pack("<I", 99) + bytes(64), 1),
    "not UTF-8": head(struct.pack("<Q", 2) + b"\xff\xfe" + bytes(64), 1),
    "twice the same key": head((text("k") + typed(1)) * 2, 2),
    "sizes that overflow": head(b"", 0, entry("t", [1 << 32, 1 << 32, 2], 0, 0), 1),
    "no sizes": head(b"", 0, entry("t", [], 0, 0) + bytes(64), 1),
    "many sizes": head(b"", 0, entry("t", [1] * 9, 0, 0), 1),
    "size zero": head(b"", 0, entry("t", [0, 4], 0, 0), 1),
    "half a block": head(b"", 0, entry("t", [33], 8, 0) + bytes(99), 1),
    "unknown encoding": head(b"", 0, entry("t", [4], 2, 0) + bytes(99), 1),
    "far away": head(b"", 0, entry("t", [4], 0, (1 << 64) - 32) + bytes(99), 1),
    "not aligned": head(b"", 0, entry("t", [4], 0, 4) + bytes(99), 1),
    "overlapping": head(b"", 0, entry("a", [16], 0, 0) + entry("b", [4], 0, 32) + bytes(999), 2),
    "twice the same tensor": head(
        b"", 0, entry("a", [8], 0, 0) + entry("a", [8], 0, 32) + bytes(999), 2
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_head(path, name):
    refusal(path, HOSTILE[name])


def test_what_is_no_file(tmp_path):
    for place in (tmp_path, tmp_path / "missing", Path("/dev/null")):
        with pytest.raises(EngineError) as refused:
            load(place)
        assert refused.value.code is Code.LOAD_FAILED


def test_what_the_engine_cannot_do_is_refused_at_load(path):
    path.write_bytes(WHOLE)
    with pytest.raises(EngineError, match="LoRA"):
        load(path, lora=(Adapter("some"),))
    with pytest.raises(EngineError, match="context"):
        load(path, context_tokens=0)
    assert load(path, context_tokens=999).facts.context_tokens == SIZES.context
    with pytest.raises(EngineError, match="rkllm, llama, tiny"):
        open_engine("other")


@given(st.lists(st.floats(-100, 100, width=32), min_size=32, max_size=32))
def test_q8_0_gives_back_what_was_written(values):
    wanted = np.array(values, np.float32)
    data = encoded(wanted, Q8_0)
    step = float(np.frombuffer(data[:2], "<f2")[0])
    found = decoded(memoryview(data), ENCODINGS[Q8_0])
    np.testing.assert_allclose(found, wanted, atol=step * 0.6 + 1e-6)


@pytest.fixture(scope="module")
def saved(path, tmp_path_factory):
    path.write_bytes(WHOLE)
    engine = load(path)
    state = tmp_path_factory.mktemp("state") / "state"
    save(engine, state, [1, 2, 3, 4, 5])
    return engine, state.read_bytes(), state


def refused_state(engine, path, data):
    path.write_bytes(data)
    with pytest.raises(EngineError) as refused:
        engine.load_state(path)
    assert refused.value.code is Code.ENGINE_ERROR
    assert engine.held().units == 0


def test_a_state_that_is_cut_off_or_longer(saved):
    engine, data, path = saved
    for end in (*range(200), len(data) - 1):
        refused_state(engine, path, data[:end])
    refused_state(engine, path, data + b"x")
    wanted = answer(engine, [1, 2, 3, 4, 5, 6], 9).said
    path.write_bytes(data)
    assert engine.load_state(path) == 5
    assert answer(engine, [1, 2, 3, 4, 5, 6], 9).said == wanted


@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_state_with_a_changed_byte(saved, place, flip):
    engine, data, path = saved
    changed = bytearray(data)
    changed[place % len(data)] ^= flip
    refused_state(engine, path, changed)


def forged(data, count=5, body=None):
    """A state with right checksums."""
    fields = list(HEADER.unpack(data[: HEADER.size]))
    body = data[HEADER.size + 4 :] if body is None else body
    fields[2], fields[5] = count, zlib.crc32(body)
    packed = HEADER.pack(*fields)
    return packed + struct.pack("<I", zlib.crc32(packed)) + body


def test_a_forged_state(saved):
    engine, data, path = saved
    body = data[HEADER.size + 4 :]
    refused_state(engine, path, forged(data, count=(1 << 32) - 1))
    refused_state(engine, path, forged(data, count=4))
    refused_state(engine, path, forged(data, body=struct.pack("<i", 300) + body[4:]))
    refused_state(engine, path, forged(data, body=struct.pack("<i", -1) + body[4:]))
    refused_state(engine, path, forged(data, body=body[:-4] + struct.pack("<f", float("nan"))))


def test_a_state_of_another_model(saved, tmp_path):
    _, data, path = saved
    other = tmp_path / "other.gguf"
    write_random_model(other, SIZES, seed=1)
    refused_state(load(other), path, data)
    shorter = tmp_path / "same.gguf"
    shorter.write_bytes(WHOLE)
    refused_state(load(shorter, context_tokens=4), path, data)


def test_a_state_that_cannot_be_read(saved, tmp_path):
    engine, _, _ = saved
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(EngineError):
            engine.load_state(place)


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="needs the device /dev/full")
def test_a_full_disk(saved):
    engine, _, _ = saved
    with pytest.raises(StorageError) as refused:
        save(engine, Path("/dev/full"), [1, 2, 3])
    assert refused.value.code is Code.STORAGE_FULL
    assert list(engine.held().tokens) == [1, 2, 3]
