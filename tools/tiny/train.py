"""The training program: from nothing to weights, within a given time.

The learning rate is constant after a short start and falls to zero over the last part of the time,
so a run can be planned by the clock. A run that goes on from a model file has the later half of
that schedule."""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from .batches import UNSEEN, Row, make_batch, parts_apart
from .bpe import FRAME, SPECIAL, Tokenizer, learn
from .chat import render_message
from .corpus import draw_sample
from .gguf import read_model, write_model
from .model import Shape, TinyLlama
from .muon import Muon, in_stacks
from .phrases import Split
from .start import prepare_copying

TOKENIZER_SAMPLES = 6000
WARM_STEPS = 40
PARTS = (2, 4)
"""Parts of a step, in the first half of the time and in the second."""
STACK_MOST = 6
MATRIX_RATE, MATRIX_DECAY = 0.008, 0.02
OTHER_RATE = 0.0006
DECAY = 0.85
"""The share of the time in which the learning rate falls to zero."""
GOING_ON = 0.6
"""How much of the schedule lies behind a model that is trained on."""
CHOICE_WEIGHT = 8.0
"""How much more the first token of a tool's name, and of its first argument's, counts than another:
there a tool is chosen."""
REPORT_STEPS = 25
KEEP_SECONDS = 180.0


def learn_tokenizer(seed: str, vocabulary: int) -> Tokenizer:
    texts: list[str] = []
    for number in range(TOKENIZER_SAMPLES):
        sample = draw_sample(f"{seed}:tokenizer:{number}", Split(False))
        texts.append(sample.prefix())
        texts += ["".join(render_message(m) for m in branch) for branch in sample.branches]
    return Tokenizer(learn(texts, vocabulary - 256 - len(SPECIAL)))


class Trainer:
    """The model with its optimisers. A step is cut into parts, each computed by one thread.

    Threads that share every small operation wait for each other all the time on a machine that does
    other work too; threads with parts of their own only do so once a step.
    """

    def __init__(self, model: TinyLlama, tokenizer: Tokenizer, threads: int) -> None:
        self.model = model
        self.before_choice = torch.tensor([tokenizer.numbers[frame] for frame in FRAME[:2]])
        self.pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        self.parameters = list(model.parameters())
        self.muons = [
            Muon(stack)
            for stack in in_stacks((p for p in model.blk.parameters() if p.ndim == 2), STACK_MOST)
        ]
        self.others = [p for p in self.parameters if p.ndim == 1] + [model.token_embd.weight]
        self.adam = torch.optim.AdamW(self.others, betas=(0.9, 0.99), weight_decay=0.0)

    def step(self, parts: list[list[Row]], factor: float) -> tuple[float, float]:
        """One step; the loss and the share of tokens that were right."""
        learned = sum(target != UNSEEN for rows in parts for row in rows for target in row.targets)
        results = list(self.pool.map(self.part, parts, [learned] * len(parts)))
        total = results[0][0]
        for gradients, _, _ in results[1:]:
            torch._foreach_add_(total, gradients)
        self.move(total, factor)
        return sum(r[1] for r in results), sum(r[2] for r in results) / learned

    def part(self, rows: list[Row], learned: int) -> tuple[list[Tensor], float, int]:
        """The gradients of one part, its share of the loss, and how many tokens were right."""
        batch = make_batch(rows)
        chosen = batch.targets != UNSEEN
        targets = batch.targets[chosen]
        with torch.autocast("cpu", torch.bfloat16):
            states = self.model(batch.tokens, batch.positions, batch.mask, chosen)
            logits = self.model.logits(states)
        losses = functional.cross_entropy(logits.float(), targets, reduction="none")
        choices = torch.isin(batch.tokens[chosen], self.before_choice)
        loss = (losses + (CHOICE_WEIGHT - 1) * losses * choices).sum() / learned
        gradients = list(torch.autograd.grad(loss, self.parameters))
        return gradients, loss.item(), int((logits.argmax(-1) == targets).sum())

    def move(self, gradients: list[Tensor], factor: float) -> None:
        """Change the weights along their gradients."""
        by_weight = {id(p): g for p, g in zip(self.parameters, gradients, strict=True)}
        for group in self.adam.param_groups:
            group["lr"] = OTHER_RATE * factor
        for weight in self.others:
            weight.grad = by_weight[id(weight)]
        torch.nn.utils.clip_grad_norm_([self.model.token_embd.weight], 1.0)
        self.adam.step()
        moved = [
            self.pool.submit(
                muon.step,
                [by_weight[id(w)] for w in muon.weights],
                MATRIX_RATE * factor,
                MATRIX_DECAY,
            )
            for muon in self.muons
        ]
        for future in moved:
            future.result()


def first_model(seed: int) -> tuple[TinyLlama, Tokenizer]:
    """A model that knows nothing yet but how to copy."""
    print(f"learning {Shape.vocabulary} tokens from {TOKENIZER_SAMPLES} samples", flush=True)
    tokenizer = learn_tokenizer(str(seed), Shape.vocabulary)
    model = TinyLlama(Shape())
    prepare_copying(model, tokenizer)
    return model, tokenizer


def rate_factor(step: int, done: float) -> float:
    """The share of the full learning rate: a short start, then constant, then down to zero."""
    if step < WARM_STEPS:
        return (step + 1) / WARM_STEPS
    return min(1.0, max(0.0, (1.0 - done) / DECAY))


def train(given: argparse.Namespace) -> None:
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = read_model(given.start) if given.start else first_model(given.seed)
    skipped = GOING_ON if given.start else 0.0
    trainer = Trainer(model, tokenizer, given.threads)
    count = sum(weight.numel() for weight in model.parameters())
    print(f"training {count} parameters for {given.minutes:g} minutes", flush=True)
    source = parts_apart(str(given.seed), tokenizer, early=not given.start)
    started = time.monotonic()
    seen = step = 0
    kept = spent = 0.0
    while spent < given.minutes * 60:
        done = skipped + (1 - skipped) * spent / (given.minutes * 60)
        parts = [next(source) for _ in range(PARTS[done >= 0.35])]
        loss, right = trainer.step(parts, rate_factor(step, done))
        step += 1
        seen += sum(row.length for rows in parts for row in rows)
        spent = time.monotonic() - started
        if step % REPORT_STEPS == 0:
            share = f"loss {loss:.4f}, {100 * right:.1f} % right"
            print(f"step {step}, {spent:.0f} s, {seen / 1e6:.2f}M tokens: {share}", flush=True)
        if spent - kept > KEEP_SECONDS:
            kept = spent
            save(given.out, "running", model, tokenizer)
    save(given.out, "final", model, tokenizer)
    print(f"done: {step} steps, {seen / 1e6:.1f}M tokens, {spent / 60:.1f} minutes")


def save(out: Path, name: str, model: TinyLlama, tokenizer: Tokenizer) -> None:
    """Put the model file into its place at once, so that a broken-off run leaves the last one."""
    weights = {key: weight.numpy() for key, weight in model.state_dict().items()}
    write_model(out / f"{name}.part", model.shape, weights, tokenizer)
    (out / f"{name}.part").rename(out / f"{name}.gguf")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the small assistant from nothing.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model file")
    parser.add_argument("--from", dest="start", type=Path, help="go on from this model file")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long to train")
    parser.add_argument("--seed", type=int, default=1, help="seed of corpus and weights")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
