"""Drills: look-ups and copies of random tokens, which no memory can answer.

They have the shape of the corpus (turns, calls) but no words. Since every token of the vocabulary
comes up in them equally often, a rare one is copied as surely as a frequent one."""

from __future__ import annotations

import random
from collections.abc import Callable

from .bpe import SPECIAL, Tokenizer, byte_letters

Turns = list[tuple[str, list[int]]]
"""Turns of a conversation: who speaks, and the tokens."""
BYTES = 256


class Drills:
    """Draws drills in the tokens of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.words = range(BYTES, len(tokenizer.tokens) - len(SPECIAL))
        space = byte_letters()[32]
        self.spaced = [
            (number, tokenizer.numbers[space + token])
            for number, token in enumerate(tokenizer.tokens)
            if space + token in tokenizer.numbers
        ]

    def draw(self, rng: random.Random) -> tuple[list[int], list[Turns]]:
        """A prompt and the conversations that may follow it."""
        kinds: tuple[Callable[[random.Random], tuple[list[int], list[Turns]]], ...]
        kinds = (self.repeats, self.lookups, self.lookups, self.calls, self.calls)
        return rng.choice(kinds)(rng)

    def some(self, rng: random.Random, most: int) -> list[int]:
        return [rng.choice(self.words) for _ in range(rng.randint(1, most))]

    def text(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)

    def repeats(self, rng: random.Random) -> tuple[list[int], list[Turns]]:
        """Say again what was said."""
        said = [self.some(rng, 24) for _ in range(3)]
        return [], [[("user", self.text("Repeat: ") + s), ("assistant", s)] for s in said]

    def lookups(self, rng: random.Random) -> tuple[list[int], list[Turns]]:
        """Lines of keys and values; a key is asked for."""
        pairs = [(self.some(rng, 3), self.some(rng, 5)) for _ in range(rng.randint(2, 10))]
        colon, end = self.text(": "), self.text("\n")
        lines = [token for key, value in pairs for token in (*key, *colon, *value, *end)]
        rng.shuffle(pairs)
        asked: list[Turns] = [[("user", key), ("assistant", value)] for key, value in pairs]
        return self.text("<|im_start|>system\n") + lines + self.text("<|im_end|>\n"), asked

    def calls(self, rng: random.Random) -> tuple[list[int], list[Turns]]:
        """A list of tools; a description with values is said, and the call has to follow."""
        prompt = self.text("<|im_start|>system\nTools:\n")
        asked: list[Turns] = []
        for _ in range(rng.randint(1, 5)):
            about, name = self.some(rng, 3), self.some(rng, 4)
            arguments = []
            said = about.copy()
            for _ in range(rng.randint(0, 2)):
                bare, spaced = rng.choice(self.spaced)
                rest = self.some(rng, 2)
                arguments.append((self.some(rng, 2), [bare, *rest]))
                said += [spaced, *rest]
            prompt += about + self.text(" ") + self.call(name, [(a, []) for a, _ in arguments])
            call = self.text("<tool_call>\n") + self.call(name, arguments)
            asked.append([("user", said), ("assistant", call + self.text("</tool_call>"))])
        rng.shuffle(asked)
        return prompt + self.text("<|im_end|>\n"), asked

    def call(self, name: list[int], arguments: list[tuple[list[int], list[int]]]) -> list[int]:
        """A call, or the pattern of one, with texts as values."""
        tokens = [*self.text('{"name": "'), *name]
        if not arguments:
            return tokens + self.text('", "arguments": {}}') + self.text("\n")
        tokens += self.text('", "arguments": {"')
        for number, (argument, value) in enumerate(arguments):
            last = number == len(arguments) - 1
            if value:
                tokens += argument + self.text('": "') + value
                tokens += self.text('"}}\n' if last else '", "')
            else:
                tokens += argument + self.text('": string') + self.text("}}\n" if last else ', "')
        return tokens
