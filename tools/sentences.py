#!/usr/bin/env python3
"""Measures the sentence splitter: how right it is, against two others, and what it costs per token.

    tools/sentences.py [--golden english_golden_rules.py]

The golden rules come with the source package of pysbd, not with its wheel:

    pip download --no-deps --no-binary :all: pysbd==0.3.3 && tar xf pysbd-0.3.3.tar.gz
    tools/sentences.py --golden pysbd-0.3.3/benchmarks/english_golden_rules.py

Counted are the ends within a text; its last one is no merit. `docs/sentences.md` has the numbers.
"""

import argparse
import itertools
import re
import runpy
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "chat")]

import pysbd  # noqa: E402
from sentence_cases import CASES  # noqa: E402
from sentence_stream import stream_to_sentences  # noqa: E402

from rkllmd.chat.deltas import SpeechDeltas  # noqa: E402
from rkllmd.chat.limit import SentenceLimit  # noqa: E402
from rkllmd.chat.sentences import SentenceSplitter  # noqa: E402
from rkllmd.chat.speech import SpeechFilter  # noqa: E402
from rkllmd.chat.thinking import ThinkingSplitter  # noqa: E402

RUNS = 30
_TOKEN = re.compile(r"\s?\w{1,5}|.", re.DOTALL)

Case = tuple[str, str, list[str]]
Split = Callable[[str, str], list[str]]


def with_rkllmd(language: str, text: str) -> list[str]:
    """Ours, token by token, without the early break."""
    splitter = SentenceSplitter(language, early=False)
    said = [sentence for token in _TOKEN.findall(text) for sentence in splitter.feed(token)]
    return said + splitter.flush()


def with_sentence_stream(_language: str, text: str) -> list[str]:
    """Token by token; it knows no languages."""
    return list(stream_to_sentences(_TOKEN.findall(text)))


def with_pysbd(language: str, text: str) -> list[str]:
    """The whole text at once; it has no Portuguese, which is read as Spanish."""
    language = "es" if language == "pt" else language
    return list(pysbd.Segmenter(language=language, clean=False).segment(text))


SPLITTERS: dict[str, Split] = {
    "rkllmd": with_rkllmd,
    "sentence-stream": with_sentence_stream,
    "pysbd": with_pysbd,
}


def ends(sentences: list[str]) -> set[int]:
    """Where sentences end, counted in characters that no splitter drops."""
    lengths = [len(re.sub(r"[\s*]", "", sentence)) for sentence in sentences]
    places = list(itertools.accumulate(length for length in lengths if length))
    return set(places[:-1])


def judge(split: Split, cases: list[Case]) -> str:
    """Texts that are wholly right, precision, recall and their harmonic mean."""
    exact = hits = found = wanted = 0
    for language, text, sentences in cases:
        ours, right = ends(split(language, text)), ends(sentences)
        exact += ours == right
        hits += len(ours & right)
        found += len(ours)
        wanted += len(right)
    precision, recall = hits / max(found, 1), hits / max(wanted, 1)
    mean = 2 * precision * recall / max(precision + recall, 1e-9)
    return f"{exact:4d} of {len(cases):4d} | {precision:.3f} | {recall:.3f} | {mean:.3f}"


def report_quality(golden: Path | None) -> None:
    """One table per set of cases."""
    sets: dict[str, list[Case]] = {"our cases": CASES}
    for language in dict.fromkeys(case[0] for case in CASES):
        sets[f"our cases, {language}"] = [case for case in CASES if case[0] == language]
    if golden:
        rules = runpy.run_path(str(golden))["GOLDEN_EN_RULES"]
        sets["golden rules, en"] = [("en", text, sentences) for text, sentences in rules]
    print("| cases | splitter | texts | precision | recall | F1 |\n|---|---|---|---|---|---|")
    for title, cases in sets.items():
        for name, split in SPLITTERS.items():
            print(f"| {title} | {name} | {judge(split, cases)} |")


def measured(make: Callable[[], Any], tokens: list[str]) -> Iterator[float]:
    """Microseconds per token of this thread, whoever else computes meanwhile; once per run."""
    for _ in range(RUNS):
        part = make()
        begin = time.thread_time()
        for token in tokens:
            part.feed(token)
        part.flush()
        yield (time.thread_time() - begin) / len(tokens) * 1e6


def report_speed() -> None:
    """What each streaming part costs per token of the English and German cases."""
    text = "\n\n".join(text for language, text, _ in CASES if language in {"en", "de"})
    tokens = _TOKEN.findall(text)
    parts: dict[str, Callable[[], Any]] = {
        "SentenceSplitter": lambda: SentenceSplitter("en"),
        "SpeechFilter": SpeechFilter,
        "SpeechDeltas": lambda: SpeechDeltas("en"),
        "SentenceLimit": lambda: SentenceLimit(1_000_000, "en"),
        "ThinkingSplitter": lambda: ThinkingSplitter("qwen"),
    }
    print(f"\n{len(tokens)} tokens, {RUNS} runs\n")
    print("| µs per token | min | median | max |\n|---|---|---|---|")
    for name, make in parts.items():
        times = list(measured(make, tokens))
        print(f"| {name} | {min(times):.1f} | {statistics.median(times):.1f} | {max(times):.1f} |")


def main() -> None:
    """Print both reports."""
    parser = argparse.ArgumentParser(description="Measures the sentence splitter.")
    parser.add_argument("--golden", type=Path, help="pysbd's benchmarks/english_golden_rules.py")
    report_quality(parser.parse_args().golden)
    report_speed()


if __name__ == "__main__":
    main()
