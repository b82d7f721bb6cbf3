"""Rows for training: samples packed side by side, each seeing only itself.

A sample's prompt stands once in a row; its branches follow it, each at the position where the
prompt ends, seeing the prompt and itself but not the other branches. So one long prompt pays for
many answers. Only tokens that the assistant writes are learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .bpe import Tokenizer
from .chat import ANSWER_OPENING, TURN_END, Message, render_message
from .corpus import Sample, draw_sample
from .phrases import Split

PART_ROWS = 4
"""Short rows in one part of a step; of long ones half as many."""
UNSEEN = -100
"""The target of a token that is not learned."""


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


def branch_tokens(branch: list[Message], tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The tokens of a branch and, for each, the next token where it is the assistant's to say."""
    tokens: list[int] = []
    learned: list[bool] = []
    for message in branch:
        text = render_message(message)
        if message.role != "assistant":
            added = tokenizer.encode(text)
            tokens += added
            learned += [False] * len(added)
            continue
        opening = tokenizer.encode(ANSWER_OPENING)
        answer = tokenizer.encode(text[len(ANSWER_OPENING) : -1])
        newline = tokenizer.encode("\n")
        tokens += opening + answer + newline
        learned += [False] * len(opening) + [True] * len(answer) + [False] * len(newline)
    assert TURN_END
    targets = [t if on else UNSEEN for t, on in zip(tokens[1:], learned[1:], strict=True)]
    return tokens, [*targets, UNSEEN]


def fill_rows(
    seed: str, tokenizer: Tokenizer, length: int, sizes: tuple[str, ...]
) -> Iterator[Row]:
    """Endless rows of samples whose prompts have the given sizes (all, where none is given)."""
    number = 0
    row = Row(length)
    while True:
        sample = draw_sample(f"{seed}:{number}", Split(False))
        number += 1
        if sizes and size_of(sample) not in sizes:
            continue
        prefix = tokenizer.encode(sample.prefix())
        branches = [branch_tokens(branch, tokenizer) for branch in sample.branches]
        if len(prefix) + len(branches[0][0]) > length:
            continue
        if len(prefix) + len(branches[0][0]) > row.room():
            row.close()
            yield row
            row = Row(length)
        row.add(prefix, [UNSEEN] * len(prefix), 0, number, 0)
        for place, (tokens, targets) in enumerate(branches, start=1):
            if len(tokens) <= row.room():
                row.add(tokens, targets, len(prefix), number, place)


def size_of(sample: Sample) -> str:
    """Whether a sample fits short rows."""
    return "long" if len(sample.prefix()) > 1200 else "short"


def make_batch(rows: list[Row]) -> Batch:
    samples = torch.tensor([row.samples for row in rows])
    branches = torch.tensor([row.branches for row in rows])
    length = samples.shape[1]
    same = samples[:, :, None] == samples[:, None, :]
    shared = (branches[:, None, :] == 0) | (branches[:, :, None] == branches[:, None, :])
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(len(rows), 1, length, length)
    mask.masked_fill_(~(same & shared & earlier)[:, None], float("-inf"))
    return Batch(
        tokens=torch.tensor([row.tokens for row in rows]),
        targets=torch.tensor([row.targets for row in rows]),
        positions=torch.tensor([row.positions for row in rows]),
        mask=mask,
    )


def steps(seed: str, tokenizer: Tokenizer, parts: int) -> Iterator[list[list[Row]]]:
    """Endless steps of so many equal parts; every third step is of long rows for long prompts."""
    short = fill_rows(f"{seed}:short", tokenizer, 384, ("short",))
    long = fill_rows(f"{seed}:long", tokenizer, 768, ("long",))
    number = 0
    while True:
        number += 1
        rows, count = (long, PART_ROWS // 2) if number % 3 == 0 else (short, PART_ROWS)
        yield [[next(rows) for _ in range(count)] for _ in range(parts)]
