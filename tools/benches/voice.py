"""How long a listener waits: the first sentence against the last token.

Each of 50 utterances is asked of the bundled model in rounds, one at a time, with the system prompt
that is installed and its cache. A voice that waits for the whole answer begins to speak with the
last token; one that reads `sentence` lines begins with the first of them. Times are the client's.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from tools.benches.chart import Line, draw
from tools.benches.daemon import BUNDLED, ROOT, Daemon
from tools.benches.lines import Lines
from tools.benches.report import Report, Table, median, number, spread

ROUNDS = 5
MAX_TOKENS = 256
UTTERANCES = (
    "Good morning!", "Good night.", "Hello there.", "How are you?", "Thank you.", "I'm home.",
    "What is your name?", "Who are you?", "What can you do?", "Tell me about yourself.",
    "What is my name?", "Which rooms are there?", "List the rooms.", "What is the cat called?",
    "Where is the spare key?", "Where is the ladder?", "Where is the first aid kit?",
    "What is the wifi password?", "When do the paper bins go out?", "When is dinner?",
    "When does the choir start?", "When is my birthday?", "Who is Maria?", "When does Maria come?",
    "What is the plumber's number?", "Where is the water valve?", "Where is the home?",
    "Tell me a joke.", "Tell me another joke.", "Make me laugh.", "Do you know a joke?",
    "Tell me a story.", "Tell me something nice.", "What is three plus four?",
    "How much is nine minus five?", "What is two times five?", "How many grams are in a kilo?",
    "How many minutes are in an hour?", "How many metres are in a kilometre?",
    "What time is it?", "What is the date today?", "What is the weather like?", "Will it rain?",
    "Turn on the light.", "Set a timer.", "Play some music.", "Make it warmer.",
    "Add milk to the shopping list.", "Are you listening?", "I'm bored.",
)  # fmt: skip
MOMENTS = ("first token", "first sentence", "last token", "the answer's end")
LENGTHS = ((1, 6), (7, 9), (10, 13), (14, 18), (19, MAX_TOKENS))


@dataclass(frozen=True)
class Heard:
    """One answer: milliseconds from the utterance to each of MOMENTS, and what it was."""

    utterance: str
    moments: tuple[float, ...]
    sentences: int
    tokens: int

    def at(self, moment: str) -> float:
        """One of them."""
        return self.moments[MOMENTS.index(moment)]


def measure(model: Path = BUNDLED) -> Report:
    """All utterances, in rounds."""
    heard: list[Heard] = []
    with Daemon(model, "cache.learn_after=0") as daemon:
        daemon.write_prompt("system", (ROOT / "etc/config/system.txt").read_text())
        daemon.start()
        daemon.wait_ready()
        with daemon.connect() as lines:
            for turn in range(ROUNDS + 1):
                found = [_ask(lines, utterance) for utterance in UTTERANCES]
                heard += found if turn else []  # what is new to the worker costs once
    return _report(heard)


def _ask(lines: Lines, utterance: str) -> Heard:
    request = {"text": utterance, "temperature": 0, "max_tokens": MAX_TOKENS, "priority": "voice"}
    stream = lines.heard()
    began = time.perf_counter()
    (ours,) = lines.send({"op": "chat", **request})
    tokens: list[float] = []
    sentences: list[float] = []
    for now, line in stream:
        if line["id"] != ours:
            continue
        after = 1000 * (now - began)
        if line["event"] == "delta":
            tokens.append(after)
        if line["event"] == "sentence":
            sentences.append(after)
        if line.get("final"):
            moments = (tokens[0], sentences[0], tokens[-1], after)
            count = line["usage"]["completion_tokens"]
            return Heard(utterance, moments, len(sentences), count)
    raise AssertionError("lines do not end")


def _report(heard: list[Heard]) -> Report:
    several = [one for one in heard if one.sentences > 1]
    tables = [_table(f"{len(UTTERANCES)} utterances, {ROUNDS} rounds, in ms", heard)]
    if several:
        count = len({one.utterance for one in several})
        tables.append(_table(f"Of them the {count} answers of more than one `sentence`", several))
    groups = [
        group
        for low, high in LENGTHS
        if (group := [one for one in heard if low <= one.tokens <= high])
    ]
    lines = [
        Line(
            moment,
            [median([one.tokens for one in group]) for group in groups],
            [median([one.at(moment) for one in group]) for group in groups],
            [min(one.at(moment) for one in group) for group in groups],
            [max(one.at(moment) for one in group) for group in groups],
        )
        for moment in MOMENTS[:3]
    ]
    title = "From the end of speech, by the answer's length: median and range"
    return Report(
        "voice",
        tables,
        {"heard": [vars(one) for one in heard]},
        draw(title, "tokens of the answer", "ms", lines),
    )


def _table(title: str, heard: list[Heard]) -> Table:
    rows = [
        (moment, *(number(value) for value in spread([one.at(moment) for one in heard])))
        for moment in MOMENTS
    ]
    sooner = [one.at("the answer's end") - one.at("first sentence") for one in heard]
    rows.append(("the first sentence before the end", *(number(v) for v in spread(sooner))))
    return Table(title, ("", "min", "median", "max"), rows)
