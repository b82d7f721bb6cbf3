"""What `prefill` saves while somebody still speaks.

An utterance of 40 words comes as 8 partial transcripts, the next one as soon as the last one's
`prefill` is done and at least `PAUSE_SECONDS` later (speech would leave two seconds). The answer's
first token is counted from the end of speech, with the partials sent and without, in turns; both
times the system prompt is held.
"""

import time
from pathlib import Path

from tools.benches.daemon import BUNDLED, Daemon
from tools.benches.lines import Lines
from tools.benches.report import Report, Table, median, number, spread
from tools.benches.texts import SYSTEM, facts, question

ROUNDS = 25
WORDS = 40
PARTIALS = 8
PAUSE_SECONDS = 0.05
WAYS = {False: "without", True: "with 8 partials sent to prefill"}


def measure(model: Path = BUNDLED) -> Report:
    """First tokens after the end of speech."""
    times: dict[bool, list[float]] = {way: [] for way in WAYS}
    computed: dict[bool, list[float]] = {way: [] for way in WAYS}
    with Daemon(model, "cache.learn_after=0") as daemon:
        daemon.write_prompt("system", " ".join([SYSTEM, *facts(20)]))
        daemon.start()
        daemon.wait_ready()
        with daemon.connect() as lines:
            for turn in range(2 * ROUNDS):
                way = bool(turn % 2)
                lines.ask("chat", text="Hello.", max_tokens=1)  # the system prompt is held
                first_s, tokens = _speak(lines, turn, speculative=way)
                times[way].append(1000 * first_s)
                computed[way].append(tokens)
    rows = [
        (
            words,
            *(number(value) for value in spread(times[way])),
            f"{median(computed[way]):.0f}",
        )
        for way, words in WAYS.items()
    ]
    title = f"First token after the end of speech, in ms ({WORDS} words, {ROUNDS} utterances each)"
    head = ("", "min", "median", "max", "tokens computed")
    samples = {words: {"first_ms": times[way]} for way, words in WAYS.items()}
    return Report("speculative", [Table(title, head, rows)], samples)


def _speak(lines: Lines, turn: int, *, speculative: bool) -> tuple[float, int]:
    """One utterance; the time to the first token, and how many tokens were computed then."""
    session = f"utterance-{turn}"
    words = f"{question(turn)} {' '.join(facts(WORDS))}".split()[:WORDS]
    if speculative:
        for part in range(1, PARTIALS + 1):
            partial = " ".join(words[: WORDS * part // PARTIALS])
            lines.ask("prefill", text=partial, session=session)
            time.sleep(PAUSE_SECONDS)
    reply = lines.ask(
        "chat", text=" ".join(words), session=session, temperature=0, max_tokens=1, priority="voice"
    )
    usage = reply.final["usage"]
    return reply.first_s, usage["prompt_tokens"] - usage["cached_tokens"]
