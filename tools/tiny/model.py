"""The network as it is trained: a Llama-shaped decoder in PyTorch.

It has nothing that the `llama` architecture of GGUF does not have: RMS norms, rotary positions over
neighbouring pairs, SwiGLU, tied embeddings, no biases. Two things serve the training only:
positions and the attention mask are given per token, so that several conversations (and several
continuations of one prompt) share a row; and logits are computed only where there is something to
learn."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

LOOKING_TOGETHER = 256
"""So many tokens compute their attention at once: what comes after them costs nothing."""


@dataclass(frozen=True)
class Shape:
    """The sizes of the network."""

    vocabulary: int = 2048
    width: int = 256
    layers: int = 6
    heads: int = 4
    inner: int = 512
    context: int = 2048
    rope_base: float = 500000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        return self.width // self.heads


class Norm(nn.Module):
    """Root-mean-square normalisation with a learned gain."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.epsilon)


class Block(nn.Module):
    """One layer: attention, then the gated network, each added to the stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, inner = shape.width, shape.inner
        self.heads = shape.heads
        self.attn_norm = Norm(width, shape.norm_epsilon)
        self.ffn_norm = Norm(width, shape.norm_epsilon)
        self.attn_q = nn.Linear(width, width, bias=False)
        self.attn_k = nn.Linear(width, width, bias=False)
        self.attn_v = nn.Linear(width, width, bias=False)
        self.attn_output = nn.Linear(width, width, bias=False)
        self.ffn_gate = nn.Linear(width, inner, bias=False)
        self.ffn_up = nn.Linear(width, inner, bias=False)
        self.ffn_down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, turns: Tensor, mask: Tensor) -> Tensor:
        return self.think(x + self.attend(self.attn_norm(x), turns, mask))

    def think(self, x: Tensor) -> Tensor:
        y = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(y)) * self.ffn_up(y))

    def attend(self, x: Tensor, turns: Tensor, mask: Tensor) -> Tensor:
        rows, length, width = x.shape
        split = (rows, length, self.heads, width // self.heads)
        q = rotate(self.attn_q(x).view(split), turns).transpose(1, 2)
        k = rotate(self.attn_k(x).view(split), turns).transpose(1, 2)
        v = self.attn_v(x).view(split).transpose(1, 2)
        q = q * q.shape[-1] ** -0.5
        parts = [
            look(q[:, :, start:end], k[:, :, :end], v[:, :, :end], mask[:, :, start:end, :end])
            for start, end in pairwise([*range(0, length, LOOKING_TOGETHER), length])
        ]
        y = torch.cat(parts, dim=2)
        return self.attn_output(y.transpose(1, 2).reshape(rows, length, width))


def look(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """What some tokens take from those up to the last of them."""
    return (q @ k.transpose(-2, -1) + mask.to(q.dtype)).softmax(-1).to(v.dtype) @ v


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn each pair (x0, x1), (x2, x3), … of every head by its position's angle."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2).to(x.dtype)


class TinyLlama(nn.Module):
    """The whole decoder."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape.width, shape.norm_epsilon)
        angles = rope_angles(shape)
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles), False)
        self.start_values()

    def start_values(self) -> None:
        deviation = self.shape.width**-0.5
        nn.init.normal_(self.token_embd.weight, std=0.04)
        for block in self.blk:
            for name, weight in block.named_parameters():
                if weight.ndim == 2:
                    last = name.startswith(("attn_output", "ffn_down"))
                    nn.init.normal_(weight, std=0.0 if last else deviation)

    def forward(self, tokens: Tensor, positions: Tensor, mask: Tensor, chosen: Tensor) -> Tensor:
        """The final states of the chosen tokens, normed; `logits` turns them into scores."""
        turns = self.turns[positions].unsqueeze(-2)
        x = self.token_embd(tokens)
        *blocks, last = self.blk
        for block in blocks:
            x = block(x, turns, mask)
        x = x + last.attend(last.attn_norm(x), turns, mask)
        return self.output_norm(last.think(x[chosen]))

    def logits(self, states: Tensor) -> Tensor:
        return states @ self.token_embd.weight.to(states.dtype).T


def rope_angles(shape: Shape) -> Tensor:
    """The angle of every pair at every position."""
    pairs = torch.arange(0, shape.head_width, 2, dtype=torch.float64) / shape.head_width
    speeds = shape.rope_base**-pairs
    return torch.outer(torch.arange(shape.context, dtype=torch.float64), speeds).float()
