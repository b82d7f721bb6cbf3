"""Rows for training: samples packed side by side, each seeing only itself.

A sample's prompt stands once in a row; its branches follow it, each at the position where the
prompt ends, seeing the prompt and itself but not the other branches. So one long prompt pays for
many answers. Only tokens that the assistant writes are learned.

Rows have one of a few lengths, and a part of a step has rows of one length. A process of its own
draws and packs them, so that the one that trains does nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.queues import Queue

import torch
from torch import Tensor

from .bpe import Tokenizer
from .corpus import draw_sample
from .drills import Drills
from .phrases import Split

LENGTHS = {256: 150, 512: 330, 768: 560}
"""Lengths of rows, and the longest prompt that goes into each."""
PART_TOKENS = 1536
EARLY_PARTS = 800
"""So many parts have short prompts only, and every second one drills; later every tenth does."""
WAITING_PARTS = 64
UNSEEN = -100
"""The target of a token that is not learned."""
Branch = tuple[list[int], list[int]]
"""Tokens and their targets."""


@dataclass
class Row:
    """One row while it is being filled."""

    length: int
    tokens: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    samples: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)

    def room(self) -> int:
        return self.length - len(self.tokens)

    def add(
        self, tokens: list[int], targets: list[int], start: int, sample: int, branch: int
    ) -> None:
        self.tokens += tokens
        self.targets += targets
        self.positions += range(start, start + len(tokens))
        self.samples += [sample] * len(tokens)
        self.branches += [branch] * len(tokens)

    def close(self) -> None:
        """Fill the rest with tokens that see only themselves and are not learned."""
        for number in range(self.room()):
            self.add([0], [UNSEEN], 0, -1 - number, 0)


@dataclass
class Batch:
    """What one training step reads."""

    tokens: Tensor
    targets: Tensor
    positions: Tensor
    mask: Tensor


def turn_tokens(turns: list[tuple[str, list[int]]], tokenizer: Tokenizer) -> Branch:
    """The tokens of turns and, for each, the next token where it is the assistant's to say."""
    tokens: list[int] = []
    learned: list[bool] = []
    newline = tokenizer.encode("\n")
    for role, content in turns:
        opening = tokenizer.encode(f"<|im_start|>{role}\n")
        said = content + tokenizer.encode("<|im_end|>")
        tokens += opening + said + newline
        learned += [False] * len(opening) + [role == "assistant"] * len(said)
        learned += [False] * len(newline)
    targets = [t if on else UNSEEN for t, on in zip(tokens[1:], learned[1:], strict=True)]
    return tokens, [*targets, UNSEEN]


def samples(seed: str, tokenizer: Tokenizer) -> Iterator[tuple[list[int], list[Branch]]]:
    """Endless prompts with their branches."""
    number = 0
    while True:
        sample = draw_sample(f"{seed}:{number}", Split(False))
        number += 1
        branches = [
            [(m.role, tokenizer.encode(m.content)) for m in branch] for branch in sample.branches
        ]
        yield (
            tokenizer.encode(sample.prefix()),
            [turn_tokens(branch, tokenizer) for branch in branches],
        )


def drills(seed: str, tokenizer: Tokenizer) -> Iterator[tuple[list[int], list[Branch]]]:
    """The same, of random tokens."""
    source = Drills(tokenizer)
    rng = random.Random(seed)
    while True:
        prefix, branches = source.draw(rng)
        yield prefix, [turn_tokens(branch, tokenizer) for branch in branches]


class Packer:
    """Fills rows of every length from one source; a part is full when its rows are."""

    def __init__(self, source: Iterator[tuple[list[int], list[Branch]]]) -> None:
        self.source = source
        self.open = {length: Row(length) for length in LENGTHS}
        self.full: dict[int, list[Row]] = {length: [] for length in LENGTHS}
        self.number = 0

    def part(self, longest: int) -> list[Row]:
        """The next part, of rows up to a length."""
        while True:
            prefix, branches = next(self.source)
            length = next((n for n, most in LENGTHS.items() if len(prefix) <= most), 0)
            if not 0 < length <= longest:
                continue
            self.number += 1
            if rows := self.add(length, prefix, branches):
                return rows

    def add(self, length: int, prefix: list[int], branches: list[Branch]) -> list[Row] | None:
        row = self.open[length]
        rows = None
        if len(prefix) + len(branches[0][0]) > row.room():
            row.close()
            self.full[length].append(row)
            if len(self.full[length]) == PART_TOKENS // length:
                rows, self.full[length] = self.full[length], []
            row = self.open[length] = Row(length)
        row.add(prefix, [UNSEEN] * len(prefix), 0, self.number, 0)
        for place, (tokens, targets) in enumerate(branches, start=1):
            if len(tokens) <= row.room():
                row.add(tokens, targets, len(prefix), self.number, place)
        return rows


def make_batch(rows: list[Row]) -> Batch:
    samples = torch.tensor([row.samples for row in rows])
    branches = torch.tensor([row.branches for row in rows])
    length = samples.shape[1]
    same = samples[:, :, None] == samples[:, None, :]
    shared = (branches[:, None, :] == 0) | (branches[:, :, None] == branches[:, None, :])
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(len(rows), 1, length, length, dtype=torch.bfloat16)
    mask.masked_fill_(~(same & shared & earlier)[:, None], float("-inf"))
    return Batch(
        tokens=torch.tensor([row.tokens for row in rows]),
        targets=torch.tensor([row.targets for row in rows]),
        positions=torch.tensor([row.positions for row in rows]),
        mask=mask,
    )


def parts(seed: str, tokenizer: Tokenizer, *, early: bool) -> Iterator[list[Row]]:
    """Endless parts of steps, with or without the early ones."""
    corpus = Packer(samples(f"{seed}:corpus", tokenizer))
    drilled = Packer(drills(f"{seed}:drills", tokenizer))
    shortest, longest = min(LENGTHS), max(LENGTHS)
    number = 0 if early else EARLY_PARTS
    while True:
        number += 1
        early = number <= EARLY_PARTS
        if number % (2 if early else 10) == 0:
            yield drilled.part(shortest)
        else:
            yield corpus.part(shortest if early else longest)


def parts_apart(seed: str, tokenizer: Tokenizer, *, early: bool) -> Iterator[list[Row]]:
    """The same, made by a process of its own."""
    context = get_context("spawn")
    waiting = context.Queue(WAITING_PARTS)
    context.Process(
        target=send_parts, args=(waiting, seed, tokenizer.merges, early), daemon=True
    ).start()
    while True:
        yield waiting.get()


def send_parts(
    waiting: Queue[list[Row]],
    seed: str,
    merges: list[tuple[str, str]],
    early: bool,  # noqa: FBT001
) -> None:
    for part in parts(seed, Tokenizer(merges), early=early):
        waiting.put(part)
