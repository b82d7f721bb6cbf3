"""What a tokenizer promises by itself; that it agrees with llama.cpp is tested elsewhere."""

import sys
import unicodedata
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.engine.tiny.gguf import open_gguf
from rkllmd.engine.tiny.tokenizer import BYTE_CHARACTERS, LETTERS_END, Tokenizer, merged
from tools.gguf_write import write_gguf
from tools.random_model import Sizes, metadata


def tokenizer(path, **members):
    described = metadata(Sizes()) | {f"tokenizer.ggml.{key}": v for key, v in members.items()}
    write_gguf(path, described, {})
    with open_gguf(path) as file:
        return Tokenizer(file)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return tokenizer(tmp_path_factory.mktemp("tokens") / "model.gguf")


@given(text=st.text().filter(lambda text: "<|" not in text))
def test_the_pieces_are_the_text(plain, text):
    pieces = b"".join(plain.piece(token) for token in plain.encode(text))
    assert pieces.decode() == text


def test_special_tokens_stand_for_themselves_and_say_nothing(plain):
    tokens = plain.encode("<|im_start|>user<|im_end|><think>")
    assert plain.text_of(tokens[0]) == "<|im_start|>"
    assert b"".join(map(plain.piece, tokens)) == b"user<think>"
    assert plain.numbers["<|im_end|>"] in plain.ends


def test_bos_stands_in_front_once(tmp_path):
    model = tokenizer(tmp_path / "model.gguf", add_bos_token=True)
    tokens = model.encode("hello")
    assert tokens[0] == model.bos
    assert model.encode("<|endoftext|>hello") == tokens
    assert model.encode("") == [model.bos]


def slowly_merged(word, ranks):
    """The same by its definition."""
    parts = list(word)
    while True:
        pairs = [(ranks[p], i) for i, p in enumerate(pairwise(parts)) if p in ranks]
        if not pairs:
            return parts
        place = min(pairs)[1]
        parts[place : place + 2] = ["".join(parts[place : place + 2])]


PARTS = st.text("abc", min_size=1, max_size=3)


@given(
    word=st.text("abc", max_size=30),
    pairs=st.lists(st.tuples(PARTS, PARTS), unique=True, max_size=20),
)
def test_merging_is_by_rank_and_from_the_left(word, pairs):
    ranks = {pair: rank for rank, pair in enumerate(pairs)}
    assert merged(word, ranks) == slowly_merged(word, ranks)


def test_long_texts_of_one_kind_end(plain):
    for text in ("a" * 100_000, " " * 100_000, "\n" * 100_000 + "x", "🙂" * 25_000, "1" * 100_000):
        assert b"".join(map(plain.piece, plain.encode(text))).decode() == text


def test_a_lone_surrogate_becomes_a_question_mark(plain):
    assert plain.encode("\ud800") == plain.encode("?")


def test_bytes_have_characters_of_their_own():
    assert len(set(BYTE_CHARACTERS)) == 256
    assert not any(character.isspace() for character in BYTE_CHARACTERS)


def test_no_letter_or_number_lies_above_the_classes():
    above = {unicodedata.category(chr(code))[0] for code in range(LETTERS_END, sys.maxunicode + 1)}
    assert not above & {"L", "N"}
