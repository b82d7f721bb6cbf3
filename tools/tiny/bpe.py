"""The tokenizer: byte-level BPE as llama.cpp knows it under the pre-tokenizer name `qwen2`.

Text is first cut by `pattern()` (every digit is a piece of its own, so numbers are always copied
digit by digit), each piece is written in the 256 printable letters of GPT-2's byte alphabet, then
merges are applied in the order in which they were learned.

Copying is what a small model has to be good at, so a word is cut alike everywhere, behind a space
or between quotes: first come merges of letters (or of signs, never both), then those that put a
space before what a word begins with.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

SPACED_SHARE = 0.4
"""The share of the merges that put a space before a word's first token."""
FRAME = ('{"name": "', '", "arguments": {"', '", "arguments": {}}')
"""What every call has alike: a token each, so that a name stands right before its arguments."""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", *FRAME)
CONTROL = SPECIAL[:3]
END_OF_TURN = "<|im_end|>"


@lru_cache(maxsize=1)
def pattern() -> re.Pattern[str]:
    """The cutting rule, with the Unicode classes L and N written out for Python's `re`."""
    letters, numbers = class_ranges("L"), class_ranges("N")
    return re.compile(
        rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n{letters}{numbers}]?[{letters}]+|[{numbers}]"
        rf"| ?[^\s{letters}{numbers}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


def class_ranges(initial: str) -> str:
    """A Unicode class as ranges for a character set."""
    ranges: list[list[int]] = []
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code))[0] == initial:
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"\\U{a:08x}-\\U{b:08x}" for a, b in ranges)


@lru_cache(maxsize=1)
def byte_letters() -> list[str]:
    """The printable letter that stands for each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in range(256)]
    spare = 256
    for byte in range(256):
        if byte not in printable:
            letters[byte] = chr(spare)
            spare += 1
    return letters


def in_letters(text: str) -> str:
    letters = byte_letters()
    return "".join(letters[byte] for byte in text.encode())


def allowed(token: str) -> bool:
    """Whether a merged token may be learned: no letters behind a sign, other than in `'s`."""
    space = byte_letters()[32]
    body = token.removeprefix(space)
    is_letter = [c.isalpha() for c in body]
    return not any(is_letter) or all(is_letter) or (token[0] == "'" and all(is_letter[1:]))


def learn(texts: Iterable[str], count: int) -> list[tuple[str, str]]:
    """The `count` merges that serve the texts best."""
    bare, spaced = count_pieces(texts)
    words = [list(text) for text in bare]
    merges = learn_merges(words, list(bare.values()), count - int(count * SPACED_SHARE))
    starts: Counter[str] = Counter()
    for word, text in zip(words, bare, strict=True):
        starts[word[0]] += spaced[text]
    frequent = [start for start, _ in starts.most_common(count - len(merges))]
    return merges + [(byte_letters()[32], start) for start in frequent]


def count_pieces(texts: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """How often each piece occurs without its space; and how often each word has one before it."""
    special = re.compile("|".join(map(re.escape, SPECIAL)))
    pieces: Counter[str] = Counter()
    for text in texts:
        for part in special.split(text):
            pieces.update(pattern().findall(part))
    bare: Counter[str] = Counter()
    spaced: Counter[str] = Counter()
    for piece, weight in pieces.items():
        text = in_letters(piece)
        if text[0] == byte_letters()[32] and text[1:].isalpha():
            text = text[1:]
            spaced[text] += weight
        bare[text] += weight
    return bare, spaced


def learn_merges(words: list[list[str]], weights: list[int], count: int) -> list[tuple[str, str]]:
    """The merges of the most frequent pairs; leaves the words as they are after them."""
    pairs: Counter[tuple[str, str]] = Counter()
    places: dict[tuple[str, str], set[int]] = defaultdict(set)
    for number, word in enumerate(words):
        for pair in pairwise(word):
            pairs[pair] += weights[number]
            places[pair].add(number)
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if not allowed(best[0] + best[1]):
            del pairs[best]
            continue
        merges.append(best)
        for number in places.pop(best):
            word, weight = words[number], weights[number]
            for pair in pairwise(word):
                if pair in pairs:
                    pairs[pair] -= weight
            words[number] = word = merge(word, best)
            for pair in pairwise(word):
                if allowed(pair[0] + pair[1]):
                    pairs[pair] += weight
                    places[pair].add(number)
        pairs.pop(best, None)
    return merges


def merge(word: list[str], pair: tuple[str, str]) -> list[str]:
    """The word with every occurrence of the pair made one token."""
    merged: list[str] = []
    at = 0
    while at < len(word):
        if at + 1 < len(word) and (word[at], word[at + 1]) == pair:
            merged.append(word[at] + word[at + 1])
            at += 2
        else:
            merged.append(word[at])
            at += 1
    return merged


class Tokenizer:
    """Text to tokens and back."""

    def __init__(self, merges: list[tuple[str, str]]) -> None:
        self.merges = merges
        self.tokens = [*byte_letters(), *(a + b for a, b in merges), *SPECIAL]
        self.numbers = {token: number for number, token in enumerate(self.tokens)}
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.special = re.compile("(" + "|".join(map(re.escape, SPECIAL)) + ")")
        self.known: dict[str, list[int]] = {}
        self.bytes = {letter: byte for byte, letter in enumerate(byte_letters())}

    def encode(self, text: str) -> list[int]:
        found: list[int] = []
        for part in self.special.split(text):
            if part in SPECIAL:
                found.append(self.numbers[part])
            else:
                for piece in pattern().findall(part):
                    found += self.known.get(piece) or self.encode_piece(piece)
        return found

    def encode_piece(self, piece: str) -> list[int]:
        word = list(in_letters(piece))
        while len(word) > 1:
            ranked = [(self.ranks.get(pair, sys.maxsize), pair) for pair in pairwise(word)]
            rank, pair = min(ranked)
            if rank == sys.maxsize:
                break
            word = merge(word, pair)
        numbers = [self.numbers[token] for token in word]
        if len(self.known) < 200_000:
            self.known[piece] = numbers
        return numbers

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of tokens; control tokens have none."""
        data = bytearray()
        for number in numbers:
            token = self.tokens[number]
            if token in CONTROL:
                continue
            data += (
                token.encode()
                if token in SPECIAL
                else bytes(self.bytes[letter] for letter in token)
            )
        return data.decode(errors="replace")
