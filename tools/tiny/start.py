"""Where the weights begin: random, but for a few heads that already know how to copy.

A small network takes millions of tokens to find out that an answer can be looked up in its prompt.
That circuit is known, so it is put in by hand and training refines it:

- every embedding has one number in common (column 0), so that a head can ask by distance alone;
- in layer 0, head 0 attends to the token before and head 1 to the one before that, and each writes
  what it saw into a subspace of its own;
- in layer 1, two heads look for a place whose *previous* token is the *present* one, a third for
  one where the last two tokens are the same; they write the token that stands there into the
  stream, where the tied output reads it.

Distance is told by the fast pairs of the rotary positions, content by the slow ones, which hardly
turn within a prompt."""

from __future__ import annotations

import torch
from torch import Tensor

from .bpe import Tokenizer, byte_letters
from .model import Block, TinyLlama

FAST_PAIRS = 8
"""Pairs of a head that tell distances."""
FIRST_SLOW_PAIR = 14
"""From this pair on, the angle stays small over a prompt of some hundred tokens."""
SHARED = 0.16
"""The number all embeddings have in common."""
SHARPNESS = 48.0
"""How strongly a distance head prefers its distance."""
MATCHING = 1.25
"""Gain of query and key of a looking-up head."""
WRITING = 0.08
"""Gain of what the prepared heads write."""
COPYING = 0.16


@torch.no_grad()
def prepare_copying(model: TinyLlama, tokenizer: Tokenizer) -> None:
    """Put the copying heads into a freshly drawn model."""
    width, head = model.shape.width, model.shape.head_width
    slow = head - 2 * FIRST_SLOW_PAIR
    basis = torch.linalg.qr(torch.randn(width - 1, width - 1))[0]
    basis = torch.cat((torch.zeros(1, width - 1), basis))
    relate(model.token_embd.weight, tokenizer)
    model.token_embd.weight[:, 0] = SHARED
    first, second = model.blk[0], model.blk[1]
    assert isinstance(first, Block)
    assert isinstance(second, Block)
    seen = basis[:, :slow]
    written = (basis[:, slow : 2 * slow], basis[:, 2 * slow : 3 * slow])
    for distance in (1, 2):
        look_back(first, distance - 1, distance, model, seen, written[distance - 1])
    turned = torch.linalg.qr(torch.randn(slow, slow))[0]
    for number in (0, 1):
        look_up(second, number, seen, written[0], drawn_copy(width, head))
    both = (seen + written[0] @ turned, written[0] + written[1] @ turned)
    look_up(second, 2, *both, drawn_copy(width, head))


def relate(embeddings: Tensor, tokenizer: Tokenizer) -> None:
    """Let a token behind a space, or with a capital, be the bare token and a difference.

    A word copied from behind a space to between quotes is then the same move for every word."""
    space = byte_letters()[32]
    behind, capital = torch.randn(2, embeddings.shape[1]) * 0.04
    for number, token in enumerate(tokenizer.tokens):
        bare = token.removeprefix(space)
        difference = torch.zeros_like(behind)
        if bare != token and bare:
            difference = difference + behind
        if bare[:1].isupper() and bare.lower() in tokenizer.numbers:
            bare, difference = bare.lower(), difference + capital
        if bare != token and bare in tokenizer.numbers:
            embeddings[number] = 0.7 * (
                embeddings[number] * 0.4 + embeddings[tokenizer.numbers[bare]] + difference
            )


def drawn_copy(width: int, head: int) -> Tensor:
    """A random subspace through which one head copies tokens."""
    return torch.linalg.qr(torch.randn(width, head))[0]


def look_back(
    block: Block, number: int, distance: int, model: TinyLlama, seen: Tensor, written: Tensor
) -> None:
    """Make a head attend to the token `distance` before and write what it saw."""
    head = model.shape.head_width
    rows = slice(number * head, (number + 1) * head)
    speeds = model.shape.rope_base ** -(torch.arange(FAST_PAIRS) * 2 / head)
    strength = SHARPNESS**0.5 / 3.9
    query, key = torch.zeros(head), torch.zeros(head)
    query[0 : 2 * FAST_PAIRS : 2] = strength
    key[0 : 2 * FAST_PAIRS : 2] = strength * torch.cos(distance * speeds)
    key[1 : 2 * FAST_PAIRS : 2] = strength * torch.sin(distance * speeds)
    for weight, column in ((block.attn_q.weight, query), (block.attn_k.weight, key)):
        weight[rows] = 0.0
        weight[rows, 0] = column
    block.attn_v.weight[rows] = 0.0
    block.attn_output.weight[:, rows] *= 0.1
    slow = seen.shape[1]
    block.attn_v.weight[rows][:slow] = seen.T
    block.attn_output.weight[:, rows][:, :slow] = WRITING * written


def look_up(block: Block, number: int, seen: Tensor, written: Tensor, copied: Tensor) -> None:
    """Make a head find the token whose predecessor is the present one, and write that token."""
    head, slow = copied.shape[1], seen.shape[1]
    rows = slice(number * head, (number + 1) * head)
    for weight, source in ((block.attn_q.weight, seen), (block.attn_k.weight, written)):
        weight[rows] = 0.0
        weight[rows][head - slow :] = MATCHING * source.T
    block.attn_v.weight[rows] = copied.T
    block.attn_output.weight[:, rows] = COPYING * copied
