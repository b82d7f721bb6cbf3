"""Byte-level BPE from a GGUF's metadata: texts to tokens and tokens to bytes, as llama.cpp does it.

A text is cut four times. Special tokens (control, user-defined and unknown ones) that stand in it
literally are cut out first, longest first. What is between them is cut into words by the pattern
of `tokenizer.ggml.pre`; each word's bytes are written as printable characters; and neighbours are
merged by the lowest rank in `tokenizer.ggml.merges` until no rule applies.

Patterns are written with classes made from `unicodedata`, because `re` knows no `\\p{L}`. A
character that this Python's Unicode does not know yet counts as neither letter nor number.

What is between special tokens is remembered as a whole, so a system prompt that was seen before
costs one look-up, and so is every word. All of it may be used from several threads.
"""

import heapq
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise

from rkllmd.engine.tiny.gguf import GgufFile, damaged

TOKENS_MAX = 1 << 20
SEGMENTS_REMEMBERED = 256
WORDS_REMEMBERED = 16_384
WORD_CHARACTERS_REMEMBERED = 64
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPECIAL = frozenset({UNKNOWN, CONTROL, USER_DEFINED})
SILENT = frozenset({UNKNOWN, CONTROL, UNUSED})
ENDS_OF_TURN = frozenset(
    {
        "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|end|>",
        "<end_of_turn>", "</s>", "<EOT>", "<|EOT|>",
    }
)  # fmt: skip
"""Tokens that end an answer in every model that has them, whatever its metadata says."""

SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Unicode's white space; Python's own class has four control characters more."""
PLAIN_CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
ANY_CONTRACTIONS = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
LETTERS_END = 0x40000
"""No plane above the third has a letter or a number."""
BLANKS = r"[{s}]+(?![^{s}])|[{s}]+"
GPT2 = rf"{PLAIN_CONTRACTIONS}| ?[{{l}}]+| ?[{{n}}]+| ?[^{{s}}{{l}}{{n}}]+|{BLANKS}"
GPT4 = (
    rf"{ANY_CONTRACTIONS}|[^\r\n{{l}}{{n}}]?[{{l}}]+|[{{n}}]%s"
    rf"| ?[^{{s}}{{l}}{{n}}]+[\r\n]*|[{{s}}]*[\r\n]+|{BLANKS}"
)
PATTERNS = {
    "gpt-2": GPT2,
    "llama-bpe": GPT4.replace("%s", "{{1,3}}"),
    "qwen2": GPT4.replace("%s", ""),
}
MERGED_FIRST = frozenset({"llama-bpe"})
"""Where a word that is a token as a whole is taken without looking at the merges."""


def byte_characters() -> str:
    """The printable character that stands for each byte, at the byte's place."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(256, 512))
    return "".join(chr(byte if byte in printable else next(spare)) for byte in range(256))


BYTE_CHARACTERS = byte_characters()
BYTE_OF = {ord(character): byte for byte, character in enumerate(BYTE_CHARACTERS)}


@cache
def word_pattern(name: str) -> re.Pattern[str]:
    """The compiled pattern of a `tokenizer.ggml.pre`."""
    letters, numbers = character_class("L"), character_class("N")
    return re.compile(PATTERNS[name].format(s=SPACE, l=letters, n=numbers))


@cache
def character_class(major: str) -> str:
    """The inside of a class for one of Unicode's major categories."""
    parts = []
    start = None
    for code in range(LETTERS_END + 1):
        inside = code < LETTERS_END and unicodedata.category(chr(code))[0] == major
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            parts.append(f"\\U{start:08x}-\\U{code - 1:08x}")
            start = None
    return "".join(parts)


class Tokenizer:
    """The tokens of one model."""

    def __init__(self, file: GgufFile) -> None:
        model = file.get("tokenizer.ggml.model", str)
        if model != "gpt2":
            raise damaged(f"its tokenizer is {model!r}; the tiny engine has byte-level BPE (gpt2)")
        self.pre = file.get("tokenizer.ggml.pre", str, "gpt-2")
        if self.pre not in PATTERNS:
            known = ", ".join(PATTERNS)
            raise damaged(f"tokenizer.ggml.pre is {self.pre!r}; known are {known}")
        self._words = word_pattern(self.pre)  # now, since the first request should not wait for it
        self.texts = texts_of(file, "tokenizer.ggml.tokens")
        self.numbers = {text: number for number, text in enumerate(self.texts)}
        self.kinds = kinds_of(file, len(self.texts))
        if missing := [
            byte for byte, text in enumerate(BYTE_CHARACTERS) if text not in self.numbers
        ]:
            raise damaged(f"{len(missing)} of the 256 byte tokens are missing, first {missing[0]}")
        self._ranks = ranks_of(file)
        kinds = zip(self.texts, self.kinds, strict=True)
        self._special = {text for text, kind in kinds if kind in SPECIAL and text}
        self._special_lengths: defaultdict[str, set[int]] = defaultdict(set)
        for text in self._special:
            self._special_lengths[text[0]].add(len(text))
        self._pieces = [self._piece(number) for number in range(len(self.texts))]
        self.bos = self._named(file, "bos")
        self.eos = self._named(file, "eos")
        self.adds_bos = file.get(
            "tokenizer.ggml.add_bos_token", bool, default=self.pre == "llama-bpe"
        )
        if self.adds_bos and self.bos is None:
            raise damaged("tokenizer.ggml.add_bos_token is set, but there is no bos_token_id")
        self.ends = frozenset(self._ends(file))
        self._segment = lru_cache(SEGMENTS_REMEMBERED)(self._segment_tokens)
        self._remembered_word = lru_cache(WORDS_REMEMBERED)(self._word_tokens)

    def __len__(self) -> int:
        return len(self.texts)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, with BOS in front where the model wants it."""
        tokens = [token for piece in self._cut(text) for token in piece]
        if self.adds_bos and self.bos is not None and tokens[:1] != [self.bos]:
            tokens.insert(0, self.bos)
        return tokens

    def piece(self, token: int) -> bytes:
        """What a token adds to the text; nothing for one that is not text."""
        return self._pieces[token]

    def text_of(self, token: int | None) -> str:
        """A token's name, empty for none."""
        return "" if token is None else self.texts[token]

    def _piece(self, token: int) -> bytes:
        text, kind = self.texts[token], self.kinds[token]
        if kind in SILENT:
            return b""
        if kind == USER_DEFINED:
            return text.encode()
        if any(ord(character) not in BYTE_OF for character in text):
            return text.encode()
        return bytes(BYTE_OF[ord(character)] for character in text)

    def _named(self, file: GgufFile, name: str) -> int | None:
        key = f"tokenizer.ggml.{name}_token_id"
        return file.integer(key, 0, len(self) - 1) if key in file.metadata else None

    def _ends(self, file: GgufFile) -> Iterable[int]:
        for name in ("eos", "eot", "eom"):
            if (token := self._named(file, name)) is not None:
                yield token
        for text in ENDS_OF_TURN & self.numbers.keys():
            if self.kinds[self.numbers[text]] == CONTROL:
                yield self.numbers[text]

    def _cut(self, text: str) -> Iterable[Sequence[int]]:
        """The tokens of each piece of a text: special tokens, and what is between them."""
        pieces: list[str | int] = [text]
        for special in sorted(self._standing_in(text), key=len, reverse=True):
            number = self.numbers[special]
            pieces = [part for piece in pieces for part in cut_out(piece, special, number)]
        return ((part,) if isinstance(part, int) else self._segment(part) for part in pieces)

    def _standing_in(self, text: str) -> set[str]:
        """The special tokens that a text has, found from where one may begin."""
        return {
            text[start : start + length]
            for first, lengths in self._special_lengths.items()
            for start in places_of(first, text)
            for length in lengths
            if text[start : start + length] in self._special
        }

    def _segment_tokens(self, text: str) -> tuple[int, ...]:
        """The tokens of a text without special tokens."""
        tokens: list[int] = []
        for word in self._words.findall(text):
            short = len(word) <= WORD_CHARACTERS_REMEMBERED
            tokens += (self._remembered_word if short else self._word_tokens)(word)
        return tuple(tokens)

    def _word_tokens(self, word: str) -> tuple[int, ...]:
        written = "".join(BYTE_CHARACTERS[byte] for byte in word.encode(errors="replace"))
        if self.pre in MERGED_FIRST and written in self.numbers:
            return (self.numbers[written],)
        tokens: list[int] = []
        for part in merged(written, self._ranks):
            known = self.numbers.get(part)
            tokens += (known,) if known is not None else (self.numbers[one] for one in part)
        return tuple(tokens)


def places_of(character: str, text: str) -> Iterator[int]:
    """Where a character stands in a text."""
    place = text.find(character)
    while place >= 0:
        yield place
        place = text.find(character, place + 1)


def cut_out(piece: str | int, special: str, number: int) -> Iterable[str | int]:
    """A piece with every occurrence of a special token as its number."""
    if isinstance(piece, int):
        yield piece
        return
    for place, part in enumerate(piece.split(special)):
        if place:
            yield number
        if part:
            yield part


def merged(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """A word's characters, neighbours merged in the order of the ranks and from the left.

    The heap keeps this quick for a word of any length; an entry whose parts have changed since is
    passed over.
    """
    parts: list[str] = list(word)
    after = [*range(1, len(parts)), -1]
    before = [*range(-1, len(parts) - 1)]
    heap = [(ranks[pair], i, *pair) for i, pair in enumerate(pairwise(parts)) if pair in ranks]
    heapq.heapify(heap)
    while heap:
        _, left, first, second = heapq.heappop(heap)
        right = after[left]
        if right < 0 or parts[left] != first or parts[right] != second:
            continue
        parts[left], parts[right] = first + second, ""
        after[left] = after[right]
        after[right] = -1
        if after[left] >= 0:
            before[after[left]] = left
        for start, end in ((before[left], left), (left, after[left])):
            if start >= 0 and end >= 0 and (pair := (parts[start], parts[end])) in ranks:
                heapq.heappush(heap, (ranks[pair], start, *pair))
    return [part for part in parts if part]


def texts_of(file: GgufFile, key: str) -> list[str]:
    """A list of texts in the metadata, of a length that a vocabulary can have."""
    texts = file.get(key, list)
    if not all(isinstance(text, str) for text in texts) or not 0 < len(texts) <= TOKENS_MAX:
        raise damaged(f"{key} has {len(texts)} entries; it needs 1 to {TOKENS_MAX} texts")
    return texts


def kinds_of(file: GgufFile, count: int) -> list[int]:
    """What each token is; all are normal where the file says nothing."""
    kinds = file.metadata.get("tokenizer.ggml.token_type")
    if kinds is None:
        return [NORMAL] * count
    listed: list[int] = [] if not hasattr(kinds, "tolist") else kinds.tolist()
    if len(listed) != count or not set(listed) <= set(range(BYTE + 1)):
        raise damaged(f"tokenizer.ggml.token_type has to be {count} numbers from 0 to {BYTE}")
    return listed


def ranks_of(file: GgufFile) -> dict[tuple[str, str], int]:
    """Which two parts are merged, and how early."""
    ranks: dict[tuple[str, str], int] = {}
    for rank, rule in enumerate(file.get("tokenizer.ggml.merges", list)):
        middle = rule.find(" ", 1) if isinstance(rule, str) else -1
        if not 0 < middle < len(rule) - 1:
            raise damaged(f"the merge {rule!r} is not two parts with a space between")
        ranks.setdefault((rule[:middle], rule[middle + 1 :]), rank)
    return ranks
