"""Small grammars for sentences, and which of their sentences are kept out of training.

A grammar is a text with alternatives in parentheses: `(set|start) a timer (|please)`. Alternatives
nest. Slots such as `{room}` are filled by the caller. Every grammar is expanded once; of its
sentences about one in seven, chosen by checksum, is *held out*: the training split never says it,
the evaluation split says nothing else."""

from __future__ import annotations

import random
import re
from collections import Counter
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
        *("Turn {state} the {room} light", "Repeat: {text}"),
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


def single_spaced(text: str) -> str:
    """The text without the double spaces that empty slots leave behind."""
    return re.sub(" +", " ", text)


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


Sides = tuple[tuple[str, ...], tuple[str, ...]]
"""What is for training, and what is held out."""


@cache
def divided(grammar: str) -> Sides:
    """The sentences for training and those held out; a short grammar has none to spare.

    What is held out is a new sentence of known words: each of its words stays in several sentences
    of the training side, as far as the grammar has such sentences."""
    texts = expand(grammar)
    if len(texts) < 3:
        return texts, texts
    count = max(1, len(texts) // HELD_SHARE)
    ranked = sorted(texts, key=lambda text: crc32(text.encode()))
    ranked = [text for text in ranked if text not in NEVER_HELD]
    known = Counter(word for text in texts for word in words(text))
    held: list[str] = []
    for others in (KNOWN_FROM, 2, 1, 0):
        for text in ranked:
            if len(held) < count and text not in held and spared(text, known, others):
                held.append(text)
                known.subtract(words(text))
        if held:
            break
    return tuple(text for text in texts if text not in held), tuple(held)


KNOWN_FROM = 4
"""In so many training sentences of its grammar is a word of a held-out one, where there are any."""


def words(text: str) -> set[str]:
    """The words of a sentence or of a tool's name."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z']+|{\w+}", text)}


def spared(text: str, known: Counter[str], others: int) -> bool:
    """Whether each word of a text stays in so many others."""
    return all(known[word] > others for word in words(text))


ENDINGS = (" then", " now", " again")
"""What a wish may end with, so that its words are known from elsewhere when it is held out."""


@cache
def asked(grammar: str) -> tuple[Sides, Sides]:
    """The wishes of a grammar for training and those held out: the plain ones, and all."""
    training, held = divided(grammar)
    ended = [text + ending for text in expand(grammar) for ending in ENDINGS]
    held_ended = tuple(text for text in ended if crc32(text.encode()) % HELD_SHARE == 0)
    if training == held:
        held = held_ended or tuple(ended)
    kept = tuple(text for text in ended if text not in held_ended and text not in held)
    return (training, held), (training + kept, held + held_ended)


@dataclass(frozen=True)
class Split:
    """Which side of the corpus is being written: training, or the held-out rest."""

    held: bool

    def phrase(self, rng: random.Random, *grammars: str, **slots: str) -> str:
        """One sentence of this side from one of the grammars, its slots filled."""
        return single_spaced(rng.choice(divided(rng.choice(grammars))[self.held]).format(**slots))

    def wish(self, rng: random.Random, *grammars: str, **slots: str) -> str:
        """What a user asks for, mostly without an ending."""
        plain, all_of_them = asked(rng.choice(grammars))
        side = (plain if rng.random() < 0.65 else all_of_them)[self.held]
        return single_spaced(rng.choice(side).format(**slots))

    def owns(self, word: str) -> bool:
        """Whether an invented word belongs to this side."""
        return (crc32(word.lower().encode()) % HELD_SHARE == 0) == self.held


def choose(rng: random.Random, grammar: str, **slots: str) -> str:
    """One sentence of a grammar, from either side: for what is not to be held out."""
    return rng.choice(expand(grammar)).format(**slots)
