"""The llama engine beyond the contract: what it loads and refuses, and that it computes right."""

import os

import numpy as np
import pytest

from rkllmd.board.cores import big_cores
from rkllmd.engine import open_engine
from rkllmd.engine.llama.engine import CHUNK_TOKENS, library
from rkllmd.engine.llama.need import MIB, read_head
from rkllmd.errors import Code, RkllmdError
from rkllmd.runs import Adapter, LoadSpec, Sampling
from tests.engine.contract_suite import QUESTION, SYSTEM, answer, save
from tools.gguf_write import gguf, write_gguf
from tools.random_model import Sizes, metadata, tensors, write_random_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model_path(folder):
    path = folder / "model.gguf"
    write_random_model(path)
    return path


def load(path, **members):
    spec = LoadSpec(str(path), threads=members.pop("threads", 1), **members)
    return open_engine("llama").load(spec, lambda *_: None)


@pytest.fixture
def engine(model_path):
    engine = load(model_path)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tiny(model_path):
    return open_engine("tiny").load(LoadSpec(str(model_path)), lambda *_: None)


@pytest.mark.parametrize("text", [SYSTEM, "<|im_start|>user\nhé <think>…", "", "\0", "😀 \ud800"])
def test_texts_are_cut_into_the_tokens_of_the_tiny_engine(engine, tiny, text):
    assert engine.tokenize(text) == tiny.tokenize(text)


def test_it_computes_what_the_tiny_engine_does(engine, tiny):
    for pooling in ("last", "mean", "cls"):
        ours, theirs = (one.embed(SYSTEM, pooling, normalize=True) for one in (engine, tiny))
        # Keys and values of 16 bits against 32.
        assert np.asarray(ours.values) @ np.asarray(theirs.values) == pytest.approx(1, abs=1e-3)
    prompt = engine.tokenize(SYSTEM + QUESTION)
    assert answer(engine, prompt, 4).text == answer(tiny, prompt, 4).text
    punished = Sampling(temperature=0, repeat_penalty=1.5, presence_penalty=0.5)
    assert answer(engine, prompt, 4, punished).text == answer(tiny, prompt, 4, punished).text


def test_the_facts_are_those_of_the_file(engine, tiny):
    for name in ("vocabulary", "parameters", "chat_template", "bos_text", "eos_text"):
        assert getattr(engine.facts, name) == getattr(tiny.facts, name), name
    assert engine.facts.architecture == "llama"


def test_a_prefill_stops_between_chunks(engine):
    prompt = (engine.tokenize(SYSTEM) * 9)[: 3 * CHUNK_TOKENS]
    stopped = answer(engine, prompt, stop_after=1)
    assert (stopped.stats.prefilled_tokens, stopped.stats.reason) == (CHUNK_TOKENS, "cancelled")
    assert engine.held().units == CHUNK_TOKENS


def test_a_state_of_another_model_is_refused(engine, folder, tmp_path):
    other_path = folder / "other.gguf"
    write_random_model(other_path, seed=1)
    other = load(other_path)
    save(other, tmp_path / "state", other.tokenize(QUESTION))
    other.close()
    with pytest.raises(RkllmdError, match="another model"):
        engine.load_state(tmp_path / "state")
    assert engine.held().units == 0


@pytest.mark.parametrize("cut", [0, 5, 60, -1])
def test_a_state_that_was_cut_off_is_refused(engine, tmp_path, cut):
    path = tmp_path / "state"
    save(engine, path, engine.tokenize(QUESTION))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RkllmdError, match="cannot be used"):
        engine.load_state(path)


def test_a_state_whose_tokens_were_changed_is_refused(engine, tmp_path):
    path = tmp_path / "state"
    save(engine, path, engine.tokenize(QUESTION))
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    with pytest.raises(RkllmdError, match="checksum"):
        engine.load_state(path)


def write_adapter(path, gain=1.0):
    chance = np.random.default_rng(5)
    rank, width = 4, Sizes().width
    described = {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": float(rank),
    }
    parts = {
        f"blk.0.attn_q.weight.lora_{name}": chance.standard_normal(shape).astype("f4") * gain
        for name, shape in (("a", (rank, width)), ("b", (width, rank)))
    }
    write_gguf(path, described, parts)


def test_an_adapter_changes_what_is_computed(engine, model_path, folder):
    path = folder / "adapter.gguf"
    write_adapter(path)

    def vector(scale):
        adapted = load(model_path, lora=(Adapter(str(path), scale),))
        try:
            return list(adapted.embed(QUESTION, "last", normalize=True).values)
        finally:
            adapted.close()

    plain = list(engine.embed(QUESTION, "last", normalize=True).values)
    assert vector(0.0) == pytest.approx(plain, abs=1e-4)
    assert vector(1.0) != pytest.approx(plain, abs=1e-2)


def test_an_adapter_that_is_none_is_refused(model_path, folder):
    path = folder / "none.gguf"
    path.write_bytes(b"GGUF?")
    with pytest.raises(RkllmdError, match=r"the adapter .*none\.gguf: .+") as refused:
        load(model_path, lora=(Adapter(str(path)),))
    assert refused.value.code is Code.LOAD_FAILED


def test_what_is_no_model_is_refused_in_words(folder):
    described = metadata(Sizes())
    whole = gguf(described, tensors(Sizes(), described, 0))
    whole_head = dict(described)
    del described["llama.context_length"]
    nameless = gguf(described, {})
    layers = {count: gguf({**whole_head, "llama.block_count": count}, {}) for count in (0, 1 << 31)}
    for data, words in (
        (b"", "no GGUF file"),
        (b"something else", "no GGUF file"),
        (whole[:5000], "no GGUF file"),
        (whole[:-5000], "cannot load"),
        (nameless, "no llama.context_length"),
        (layers[0], "it has 0 layers"),
        (layers[1 << 31], "it has 2147483648 layers"),
        (gguf({**whole_head, "llama.attention.head_count": 0}, {}), "cannot load"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 500, "no GGUF file"),
    ):
        path = folder / "damaged.gguf"
        path.write_bytes(data)
        with pytest.raises(RkllmdError, match=words) as refused:
            load(path)
        assert refused.value.code is Code.LOAD_FAILED
    with pytest.raises(RkllmdError, match="no model file"):
        load(folder / "nowhere.gguf")


def test_what_does_not_fit_into_memory_is_refused_before_it_is_loaded(folder):
    path = folder / "endless.gguf"
    write_random_model(path, Sizes(context=1 << 30))
    with pytest.raises(
        RkllmdError, match=r"context of 1073741824 tokens needs about \d+ MiB"
    ) as no:
        load(path, context_tokens=1 << 30)
    assert no.value.code is Code.OUT_OF_MEMORY
    assert no.value.details["needed_bytes"] > no.value.details["available_bytes"]


def test_the_head_says_what_a_model_needs(model_path):
    sizes = Sizes()
    head = read_head(library(), model_path)
    token = 2 * 2 * sizes.layers * sizes.kv_heads * sizes.width // sizes.heads
    assert head.need(512, 64) - head.need(0, 64) == 512 * token
    assert head.need(0, 0) == model_path.stat().st_size < MIB
    assert (head.context_trained, head.vocabulary) == (sizes.context, sizes.vocabulary)


def test_it_stays_on_the_cores_that_are_named(model_path):
    allowed = os.sched_getaffinity(0)
    try:
        load(model_path, options={"cpus": [min(allowed)]}).close()
        assert os.sched_getaffinity(0) == {min(allowed)}
        with pytest.raises(RkllmdError, match=f"found 1023, allowed: {min(allowed)}"):
            load(model_path, options={"cpus": [1023]})
    finally:
        os.sched_setaffinity(0, allowed)


def test_big_cores_are_those_of_a_capacity_near_the_greatest(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: frozenset(range(8)))
    assert big_cores(tmp_path) == frozenset(range(8))
    for core, capacity in enumerate([530, 530, 530, 530, 1000, 1000, 1024, 1024]):
        file = tmp_path / f"sys/devices/system/cpu/cpu{core}/cpu_capacity"
        file.parent.mkdir(parents=True)
        file.write_text(f"{capacity}\n")
    assert big_cores(tmp_path) == {4, 5, 6, 7}


def test_numbers_that_are_not_finite_end_a_run(folder):
    path = folder / "infinite.gguf"
    described = metadata(Sizes())
    parts = tensors(Sizes(), described, 0)
    parts["output_norm.weight"][:] = np.nan
    write_gguf(path, described, parts)
    broken = load(path)
    with pytest.raises(RkllmdError, match="not finite") as found:
        answer(broken, broken.tokenize(QUESTION), 3)
    assert found.value.code is Code.ENGINE_ERROR
    assert broken.held().units == 0
    broken.close()
