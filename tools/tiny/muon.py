"""Muon: momentum whose step is made orthogonal, for the matrices of the network.

Each update is brought near to an orthogonal matrix by four Newton-Schulz steps. Matrices of the
same size are stepped together as one stack, which makes it cheap on a CPU; on one with bfloat16
instructions half precision makes it cheaper still, and four steps are coarse enough not to mind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 4


def orthogonalise(stack: Tensor) -> Tensor:
    """Bring every matrix of a stack near to the orthogonal one that it is closest to."""
    a, b, c = COEFFICIENTS
    tall = stack.shape[-2] > stack.shape[-1]
    x = stack.mT if tall else stack
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return (x.mT if tall else x).float()


class Muon:
    """The momentum of a stack of equal matrices; the learning rate is given at every step."""

    def __init__(self, weights: Sequence[nn.Parameter], momentum: float = 0.95) -> None:
        self.weights = list(weights)
        self.momentum = momentum
        self.running = torch.zeros(len(weights), *weights[0].shape)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float, decay: float = 0.0) -> None:
        gradient = torch.stack(list(gradients))
        self.running.lerp_(gradient, 1 - self.momentum)
        update = orthogonalise(gradient.lerp(self.running, self.momentum))
        scale = rate * max(1.0, update.shape[-2] / update.shape[-1]) ** 0.5
        for weight, change in zip(self.weights, update, strict=True):
            weight.mul_(1 - rate * decay).add_(change, alpha=-scale)


def in_stacks(weights: Iterable[nn.Parameter], most: int) -> list[list[nn.Parameter]]:
    """Matrices of equal size together, at most so many."""
    by_size: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
    for weight in weights:
        by_size[weight.shape].append(weight)
    return [
        group[at : at + most] for group in by_size.values() for at in range(0, len(group), most)
    ]
