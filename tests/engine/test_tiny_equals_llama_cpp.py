"""Same file, same tokens: the tiny engine against llama.cpp."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.engine import open_engine
from rkllmd.runs import LoadSpec
from tests.engine.contract_suite import answer
from tests.engine.llama_cpp import LlamaCpp
from tools.gguf_write import F16, Q8_0
from tools.random_model import Sizes, write_random_model

MODELS = {
    "tied": Sizes(),
    "grouped_untied": Sizes(heads=8, kv_heads=2, layers=3, tied=False),
    "own_keys": Sizes(heads=2, kv_heads=2, width=96, inner=160),
}
TEXTS = (
    "Turn on the light in the kitchen.",
    "<|im_start|>user\nWie spät ist es?<|im_end|>\n<|im_start|>assistant\n",
    "It'll rain in the evening, so take an umbrella with you. " * 6,
)
PATTERNS = ("gpt-2", "llama-bpe", "qwen2")


def tiny(path):
    return open_engine("tiny").load(LoadSpec(str(path)), lambda *_: None)


@pytest.fixture(scope="module", params=MODELS)
def both(request, tmp_path_factory):
    """The same model in both."""
    path = tmp_path_factory.mktemp("both") / "model.gguf"
    write_random_model(path, MODELS[request.param], seed=list(MODELS).index(request.param))
    with LlamaCpp(path) as reference:
        yield tiny(path), reference


def test_greedy_tokens(both):
    engine, reference = both
    for text in TEXTS:
        tokens = engine.tokenize(text)
        said = answer(engine, tokens, 48).said
        wanted = reference.complete(tokens, 49)[: len(said)]
        assert said == wanted
        assert len(set(said)) > 8, "the random model repeats itself and proves little"


@pytest.mark.parametrize("pooling", ["last", "mean", "cls"])
def test_embeddings(pooling, tmp_path_factory):
    path = tmp_path_factory.mktemp("embed") / "model.gguf"
    write_random_model(path, Sizes(heads=4, kv_heads=2, layers=3))
    engine = tiny(path)
    with LlamaCpp(path, pooling=pooling) as reference:
        for text in TEXTS:
            ours = engine.embed(text, pooling, normalize=True)
            np.testing.assert_allclose(ours.values, reference.embed(text), atol=1e-3)


@pytest.fixture(scope="module", params=PATTERNS)
def tokenizers(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "model.gguf"
    write_random_model(path, pre=request.param)
    with LlamaCpp(path) as reference:
        yield tiny(path), reference


ASSIGNED = st.characters(exclude_categories=("Cs", "Cn"))
SPECIAL_PIECES = ("<|im_end|>", "<think>", "</think>", "<|im_", "light", " the", "Küche")
HARD_PIECES = (
    "'ll",
    "'S",
    "'ſ",
    " \n",
    "\r\n",
    "  ",
    "1234",
    "\u00a0",
    "\u3000",
    "é",
    "²",
    "Ⅷ",
    "一",
)
PIECES = st.sampled_from((*SPECIAL_PIECES, *HARD_PIECES, "\u0301", "\x1c", "🙂", "\x85", "\u180e"))


@given(text=st.lists(PIECES | ASSIGNED | st.text(ASSIGNED), max_size=12).map("".join))
def test_tokens_of_any_text(tokenizers, text):
    engine, reference = tokenizers
    assert engine.tokenize(text) == reference.tokenize(text)


@pytest.mark.parametrize("kind", [F16, Q8_0])
def test_small_types_mean_the_same(kind, tmp_path):
    """llama.cpp rounds activations too for these types, so only the direction is compared."""
    path = tmp_path / "model.gguf"
    write_random_model(path, Sizes(width=128, inner=192), kind=kind)
    engine = tiny(path)
    with LlamaCpp(path, pooling="last") as reference:
        for text in TEXTS:
            ours = engine.embed(text, "last", normalize=True)
            assert np.dot(ours.values, reference.embed(text)) > 0.99
