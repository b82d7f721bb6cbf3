"""Small grammars for sentences, and which of their sentences are kept out of training.

A grammar is a text with alternatives in parentheses: `(set|start) a timer (|please)`. Alternatives
nest. Slots such as `{room}` are filled by the caller. Every grammar is expanded once; of its
sentences about one in seven, chosen by checksum, is *held out*: the training split never says it,
the evaluation split says nothing else."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from zlib import crc32

HELD_SHARE = 7
"""One sentence in this many is held out."""
NEVER_HELD = frozenset(
    (
        *("Hello", "Hi", "Thanks", "Thank you", "Good night", "Good morning", "Goodbye", "Stop"),
        *("What is your name", "What's your name", "Who are you", "What can you do", "How are you"),
        *("What is my name", "What's my name", "Who am I", "Tell me a joke", "What time is it"),
        *("What is the date", "What day is it", "What is the weather", "What's the weather"),
        *("set_timer", "start_timer", "cancel_timer", "set_alarm", "set_light", "turn_on_light"),
        *("turn_off_light", "set_brightness", "set_temperature", "get_temperature", "play_music"),
        *("pause_music", "set_volume", "get_weather", "add_to_shopping_list", "get_shopping_list"),
        *(
            "get_time",
            "Turn {state} the light in the {room}",
            "Turn {state} the lights in the {room}",
        ),
        *("Turn the {room} light {state}", "Turn the light in the {room} {state}"),
        *("Switch {state} the light in the {room}", "Switch the {room} light {state}"),
        *("Set a timer for {n} {m}", "Set a {n} minute timer", "Which rooms are there"),
    )
)
"""What everybody tries first is always in the training side."""


@cache
def expand(grammar: str) -> tuple[str, ...]:
    """All sentences of a grammar, in order."""
    texts, rest = expand_choice(grammar + ")", 0)
    assert rest == len(grammar) + 1, f"unbalanced: {grammar}"
    return tuple(dict.fromkeys(tidy(text) for text in texts))


def tidy(text: str) -> str:
    """The text without the spaces that left-out words leave behind."""
    return re.sub(" +([.,;:!?]|$)", r"\1", re.sub(" +", " ", text)).strip(" ")


def expand_sequence(grammar: str, at: int) -> tuple[list[str], int]:
    """Expand from `at` to the end, a bar or a closing parenthesis."""
    texts = [""]
    while at < len(grammar) and grammar[at] not in "|)":
        if grammar[at] == "(":
            choices, at = expand_choice(grammar, at + 1)
            texts = [text + choice for text in texts for choice in choices]
        else:
            end = at
            while end < len(grammar) and grammar[end] not in "(|)":
                end += 1
            texts = [text + grammar[at:end] for text in texts]
            at = end
    return texts, at


def expand_choice(grammar: str, at: int) -> tuple[list[str], int]:
    """Expand alternatives after an opening parenthesis."""
    choices: list[str] = []
    while True:
        texts, at = expand_sequence(grammar, at)
        choices += texts
        at += 1
        if grammar[at - 1] == ")":
            return choices, at


@cache
def divided(grammar: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The sentences for training and those held out; a short grammar has none to spare."""
    texts = expand(grammar)
    if len(texts) < 3:
        return texts, texts
    count = max(1, len(texts) // HELD_SHARE)
    ranked = sorted(texts, key=lambda text: crc32(text.encode()))
    held = tuple([text for text in ranked if text not in NEVER_HELD][:count])
    return tuple(text for text in texts if text not in held), held


ENDINGS = (" then", " now", " again")
"""What a wish may end with, so that its words are known from elsewhere when it is held out."""


@cache
def asked(grammar: str) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]:
    """The wishes of a grammar for training and those held out; of each, those without an ending."""
    sides = divided(f"({grammar})(|{'|'.join(ENDINGS)})")
    plain = (tuple(text for text in side if not text.endswith(ENDINGS)) for side in sides)
    training, held = plain
    return (training or sides[0], held or sides[1]), sides


@dataclass(frozen=True)
class Split:
    """Which side of the corpus is being written: training, or the held-out rest."""

    held: bool

    def phrase(self, rng: random.Random, *grammars: str, **slots: str) -> str:
        """One sentence of this side from one of the grammars, its slots filled."""
        return rng.choice(divided(rng.choice(grammars))[self.held]).format(**slots)

    def wish(self, rng: random.Random, *grammars: str, **slots: str) -> str:
        """What a user asks for, mostly without an ending."""
        plain, all_of_them = asked(rng.choice(grammars))
        side = (plain if rng.random() < 0.65 else all_of_them)[self.held]
        return rng.choice(side).format(**slots)

    def owns(self, word: str) -> bool:
        """Whether an invented word belongs to this side."""
        return (crc32(word.lower().encode()) % HELD_SHARE == 0) == self.held


def choose(rng: random.Random, grammar: str, **slots: str) -> str:
    """One sentence of a grammar, from either side: for what is not to be held out."""
    return rng.choice(expand(grammar)).format(**slots)
