"""The index finds what a naive search finds."""

from pathlib import PurePath

from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.ids import CacheName
from rkllmd.promptcache.index import PrefixIndex, Stored
from rkllmd.runs import Prompt

tokens = st.lists(st.integers(0, 2), max_size=6).map(Prompt.of_tokens)
texts = st.text("ab", max_size=6).map(Prompt.of_text)
prompts = st.one_of(tokens, texts)


def naive(prefixes: dict[int, Prompt], prompt: Prompt) -> int | None:
    best = None
    for key, prefix in prefixes.items():
        fits = prefix.kind == prompt.kind and prompt.data[: len(prefix.data)] == prefix.data
        if fits and (best is None or len(prefix.data) > len(prefixes[best].data)):
            best = key
    return best


def stored(prefixes: dict[int, Prompt]) -> list[Stored]:
    return [
        Stored(CacheName(str(key)), prefix, prefix.units, PurePath("state"))
        for key, prefix in prefixes.items()
    ]


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 20), prompts, max_size=20), prompts)
def test_equal_to_the_naive_search(prefixes: dict[int, Prompt], prompt: Prompt) -> None:
    found = PrefixIndex(stored(prefixes)).longest(prompt)
    assert (None if found is None else int(found.name)) == naive(prefixes, prompt)


@given(st.dictionaries(st.integers(0, 20), prompts, max_size=20), st.integers(0, 20))
def test_a_prefix_is_found_by_its_name(prefixes: dict[int, Prompt], name: int) -> None:
    found = PrefixIndex(stored(prefixes)).named(CacheName(str(name)))
    assert (None if found is None else found.prefix) == prefixes.get(name)


def test_tokens_are_compared_as_a_whole() -> None:
    index = PrefixIndex(stored({1: Prompt.of_tokens([1, 2]), 2: Prompt.of_text("\x01")}))
    assert index.longest(Prompt.of_tokens([1, 2 + 256])) is None
    found = index.longest(Prompt.of_tokens([1, 2, 3]))
    assert found is not None
    assert found.name == "1"
