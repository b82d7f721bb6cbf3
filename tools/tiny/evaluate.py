"""The evaluation: held-out questions by skill, what the model answers, and how much of it is right.

Every question stands in a home of its own, with phrasings, names, rooms, facts and tool names that
the training side of the corpus does not have (`phrases.Split`). `check_disjoint` proves it for each
item before anything is counted. An answer is judged by its place: a call must be the right call, a
sentence must have the words that matter, a joke must be one of those that fit."""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from .bpe import END_OF_TURN
from .chat import ANSWER_OPENING, Expect, render_message
from .corpus import Sample, draw_sample
from .phrases import Split
from .runners import Answer, Runner, open_runner

TOKENS_MAX = 96
SEED = "evaluation"
TRAINING_SAMPLES_COMPARED = 3000


@dataclass(frozen=True)
class Item:
    """One question: the prompt up to the answer, and what the answer has to have."""

    prompt: str
    expect: Expect
    gold: str
    asked: str


@dataclass
class Score:
    """Right answers out of all."""

    right: int = 0
    total: int = 0

    def add(self, *, right: bool) -> None:
        self.right += right
        self.total += 1

    def __str__(self) -> str:
        share = 100 * self.right / self.total if self.total else 0.0
        return f"{self.right:4d} of {self.total:4d}  {share:5.1f} %"


def items_of(sample: Sample) -> list[Item]:
    """Every answer of a sample as a question, with the conversation before it."""
    items: list[Item] = []
    for branch in sample.branches:
        text, asked = sample.prefix(), ""
        for message in branch:
            if message.role == "user":
                asked = message.content
            if message.expect is not None:
                items.append(Item(text + ANSWER_OPENING, message.expect, message.content, asked))
            text += render_message(message)
    return items


def draw_items(seed: str, per_skill: int) -> list[Item]:
    """So many held-out items of every skill, each from another home."""
    found: dict[str, list[Item]] = defaultdict(list)
    for number in range(per_skill * 60):
        by_skill = {
            item.expect.skill: item
            for item in items_of(draw_sample(f"{seed}:{number}", Split(True)))
        }
        for skill, item in by_skill.items():
            if len(found[skill]) < per_skill:
                found[skill].append(item)
    return [item for skill in sorted(found) for item in found[skill]]


def training_turns(seed: str, count: int) -> set[str]:
    """Prompts and questions of the training side, for comparison."""
    return {
        item.prompt
        for n in range(count)
        for item in items_of(draw_sample(f"{seed}:{n}", Split(False)))
    }


def check_disjoint(items: list[Item], seed: str = "1:corpus") -> int:
    """Fail when an item is also in the training set; the number of training prompts compared."""
    known = training_turns(seed, TRAINING_SAMPLES_COMPARED)
    shared = [item for item in items if item.prompt in known]
    if shared:
        raise AssertionError(
            f"{len(shared)} evaluation prompts are in the training set: {shared[0].prompt!r}"
        )
    return len(known)


def parse_call(text: str) -> tuple[str, object] | None:
    """Name and arguments of a well-formed call, or nothing."""
    match = re.fullmatch(r"<tool_call>\n(.*)\n</tool_call>", text.strip(), re.DOTALL)
    if match is None:
        return None
    try:
        call = json.loads(match[1])
        return call["name"], call["arguments"]
    except (ValueError, KeyError, TypeError):
        return None


def is_right(expect: Expect, text: str) -> bool:
    if expect.call is not None:
        return parse_call(text) == (expect.call.name, expect.call.arguments)
    if "<tool_call>" in text:
        return False
    if expect.among:
        return text.strip() in expect.among
    return all(part.lower() in text.lower() for part in expect.parts)


def sentences(text: str) -> int:
    """How many sentences an answer has."""
    return len([part for part in re.split(r"[.!?](?:\s|$)", text.strip()) if part])


@dataclass
class Report:
    """All scores of a run."""

    skills: dict[str, Score]
    calls_valid: Score
    one_sentence: Score
    ended: Score
    wrong: list[tuple[Item, Answer]]

    def lines(self) -> list[str]:
        named = {name: self.skills[name] for name in sorted(self.skills)}
        total = Score(sum(s.right for s in named.values()), sum(s.total for s in named.values()))
        rows = [*named.items(), ("all skills", total), ("valid tool calls", self.calls_valid)]
        rows += [
            ("one sentence when asked for", self.one_sentence),
            ("ended by itself", self.ended),
        ]
        return [f"{name:30} {score}" for name, score in rows]


def evaluate(runner: Runner, items: list[Item]) -> Report:
    report = Report(defaultdict(Score), Score(), Score(), Score(), [])
    for item in items:
        answer = runner.answer(item.prompt, TOKENS_MAX)
        right = answer.ended and is_right(item.expect, answer.text)
        report.skills[item.expect.skill].add(right=right)
        report.ended.add(right=answer.ended)
        if item.expect.call is not None:
            report.calls_valid.add(right=valid_call(item, answer.text))
        elif item.expect.one_sentence:
            report.one_sentence.add(right=sentences(answer.text) == 1)
        if not right:
            report.wrong.append((item, answer))
    return report


def valid_call(item: Item, text: str) -> bool:
    """Whether a call is well formed, and its name and arguments are among those listed."""
    call = parse_call(text)
    if call is None or not isinstance(call[1], dict):
        return False
    start = f'{{"name": "{call[0]}", "arguments": {{'
    listed = item.prompt.replace(END_OF_TURN, "\n")
    line = re.search(re.escape(start) + r"(.*)\}\}$", listed, re.MULTILINE)
    if line is None:
        return False
    types = dict(re.findall(r'"([^"]*)": ([^,]*)', line[1]))
    needed = {name for name, kind in types.items() if not kind.endswith("?")}
    return needed <= set(call[1]) <= set(types)


def count_equal(items: list[Item], first: Runner, second: Runner) -> int:
    """How many items two engines answer with the same words."""
    return sum(
        first.answer(item.prompt, TOKENS_MAX) == second.answer(item.prompt, TOKENS_MAX)
        for item in items
    )


def print_wrong(wrong: list[tuple[Item, Answer]], *, whole: bool) -> None:
    for item, answer in wrong:
        asked = f"\n{item.prompt}" if whole else repr(item.asked)
        print(f"[{item.expect.skill}] {asked}")
        print(f"    wanted {item.gold!r}\n    got    {answer.text!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Score the bundled model on held-out questions.")
    parser.add_argument(
        "model", type=Path, nargs="?", help="the model file (default: the bundled one)"
    )
    parser.add_argument("--engine", default="tiny", choices=["tiny", "llama"], help="what runs it")
    parser.add_argument("--per-skill", type=int, default=50, help="questions per skill")
    parser.add_argument("--seed", default=SEED, help="which held-out questions")
    parser.add_argument("--wrong", type=int, default=0, help="print so many wrong answers")
    parser.add_argument(
        "--whole", action="store_true", help="print wrong answers with their whole prompt"
    )
    parser.add_argument(
        "--compare", type=int, default=0, help="only compare both engines on so many questions"
    )
    given = parser.parse_args()
    model = (
        given.model
        or Path(__file__).parents[2] / "models" / "tiny-assistant" / "tiny-assistant.gguf"
    )
    items = draw_items(given.seed, given.per_skill)
    compared = check_disjoint(items)
    print(f"{len(items)} held-out questions; none is among {compared} prompts of the training side")
    if given.compare:
        some = items[:: max(1, len(items) // given.compare)][: given.compare]
        equal = count_equal(some, open_runner("tiny", model), open_runner("llama", model))
        print(f"both engines gave the same answer to {equal} of {len(some)}")
        return
    report = evaluate(open_runner(given.engine, model), items)
    print("\n".join(report.lines()))
    print_wrong(report.wrong[: given.wrong], whole=given.whole)


if __name__ == "__main__":
    main()
