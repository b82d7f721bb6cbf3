"""The training program: from nothing to weights, within a given time.

The learning rate is constant after a short start and falls to zero over the last part of the time,
so a run can be planned by the clock and a finished or a broken-off run can be gone on with."""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from .batches import UNSEEN, Row, make_batch, steps
from .bpe import SPECIAL, Tokenizer, learn
from .chat import render_message
from .corpus import draw_sample
from .gguf import write_model
from .model import Shape, TinyLlama
from .muon import Muon, in_stacks
from .phrases import Split
from .start import prepare_copying

TOKENIZER_SAMPLES = 6000
WARM_STEPS = 40
PARTS = 4
STACK_MOST = 6
MATRIX_DECAY = 0.02
REPORT_STEPS = 50


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

    def __init__(self, model: TinyLlama, given: argparse.Namespace) -> None:
        self.model = model
        self.matrix_rate, self.other_rate = given.matrix_rate, given.other_rate
        self.pool = ThreadPoolExecutor(
            given.threads, initializer=torch.set_num_threads, initargs=(1,)
        )
        self.parameters = list(model.parameters())
        self.muons = [
            Muon(stack)
            for stack in in_stacks((p for p in model.blk.parameters() if p.ndim == 2), STACK_MOST)
        ]
        self.others = [p for p in self.parameters if p.ndim == 1] + [model.token_embd.weight]
        self.adam = torch.optim.AdamW(self.others, betas=(0.9, 0.95), weight_decay=0.0)

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
            states = self.model(batch.tokens, batch.positions, batch.mask)
            logits = self.model.logits(states[chosen])
        loss = functional.cross_entropy(logits.float(), targets, reduction="sum") / learned
        gradients = list(torch.autograd.grad(loss, self.parameters))
        return gradients, loss.item(), int((logits.argmax(-1) == targets).sum())

    def move(self, gradients: list[Tensor], factor: float) -> None:
        """Change the weights along their gradients."""
        by_weight = {id(p): g for p, g in zip(self.parameters, gradients, strict=True)}
        for group in self.adam.param_groups:
            group["lr"] = self.other_rate * factor
        for weight in self.others:
            weight.grad = by_weight[id(weight)]
        torch.nn.utils.clip_grad_norm_([self.model.token_embd.weight], 1.0)
        self.adam.step()
        moved = [
            self.pool.submit(
                muon.step,
                [by_weight[id(w)] for w in muon.weights],
                self.matrix_rate * factor,
                MATRIX_DECAY,
            )
            for muon in self.muons
        ]
        for future in moved:
            future.result()


def rate_factor(step: int, done: float, decay: float) -> float:
    """The share of the full learning rate: a short start, then constant, then down to zero."""
    if step < WARM_STEPS:
        return (step + 1) / WARM_STEPS
    return min(1.0, max(0.0, (1.0 - done) / decay))


def train(given: argparse.Namespace) -> None:
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    merges = out / "merges.json"
    if merges.exists():
        tokenizer = Tokenizer([tuple(pair) for pair in json.loads(merges.read_text())])
    else:
        tokenizer = learn_tokenizer(str(given.seed), Shape.vocabulary)
        merges.write_text(json.dumps(tokenizer.merges))
    model = TinyLlama(Shape())
    prepare_copying(model)
    trainer = Trainer(model, given)
    if given.resume:
        model.load_state_dict(torch.load(given.resume))
    source = steps(f"{given.seed}:{given.corpus}", tokenizer, PARTS)
    started = time.monotonic()
    seen = step = 0
    kept = 0.0
    while True:
        spent = time.monotonic() - started
        done = spent / (given.minutes * 60)
        if done >= 1.0:
            break
        parts = next(source)
        loss, right = trainer.step(parts, rate_factor(step, done, given.decay))
        step += 1
        seen += sum(row.length for rows in parts for row in rows)
        if step % REPORT_STEPS == 0:
            print(
                f"{step} {spent:.0f}s {seen / 1e6:.2f}M loss {loss:.4f} right {right:.4f}",
                flush=True,
            )
        if spent - kept > given.keep_seconds:
            kept = spent
            save(out, "running", model, tokenizer)
    save(out, "final", model, tokenizer)
    minutes = (time.monotonic() - started) / 60
    print(f"done: {step} steps, {seen / 1e6:.1f}M tokens, {minutes:.1f} minutes")


def save(out: Path, name: str, model: TinyLlama, tokenizer: Tokenizer) -> None:
    state = model.state_dict()
    torch.save(state, out / f"{name}.part")
    (out / f"{name}.part").rename(out / f"{name}.pt")
    weights = {key: weight.numpy() for key, weight in state.items()}
    write_model(out / f"{name}.part", model.shape, weights, tokenizer)
    (out / f"{name}.part").rename(out / f"{name}.gguf")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the small assistant from nothing.")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints and the model file"
    )
    parser.add_argument("--minutes", type=float, default=75.0, help="how long to train")
    parser.add_argument(
        "--decay",
        type=float,
        default=0.45,
        help="share of the time in which the rate falls to zero",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of corpus and weights")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument(
        "--matrix-rate", type=float, default=0.01, help="learning rate of the matrices (Muon)"
    )
    parser.add_argument(
        "--other-rate", type=float, default=0.002, help="learning rate of the rest (AdamW)"
    )
    parser.add_argument(
        "--keep-seconds", type=float, default=180.0, help="time between checkpoints"
    )
    parser.add_argument(
        "--corpus", default="0", help="which part of the corpus, to go on with another one"
    )
    parser.add_argument("--resume", default="", help="a checkpoint to go on from")
    return parser.parse_args()


def main() -> None:
    train(parse())


if __name__ == "__main__":
    main()
