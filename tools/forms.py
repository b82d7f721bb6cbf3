"""One answer that is held to a schema, and what came of it."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from rkllmd.engine.contract import Engine
from rkllmd.errors import RkllmdError
from rkllmd.runs import Constraint, Form, Limits, Prompt, Sampling

PROMPT = "Turn on the light in the kitchen."


@dataclass
class Tally:
    """How answers ended."""

    fit: int = 0
    length: int = 0
    unfit: int = 0
    refused: int = 0

    def counts(self) -> dict[str, int]:
        """By name."""
        return dataclasses.asdict(self)


def try_form(engine: Engine, schema: Any, seed: int, max_tokens: int, tally: Tally) -> str | None:
    """Ask once; in words what is wrong with the answer, if anything is."""
    sampling = Sampling(
        temperature=1.5,
        top_k=0,
        top_p=1.0,
        seed=seed,
        constraint=Constraint((Form(json.dumps(schema)),)),
    )
    pieces: list[bytes] = []
    prompt = Prompt.of_tokens(engine.tokenize(PROMPT))
    try:
        stats = engine.run(
            prompt, sampling, Limits(max_tokens), pieces.append, lambda: False, lambda *_: None
        )
    except RkllmdError as error:
        tally.refused += 1
        return f"refused: {error.message}"
    said = b"".join(pieces).decode(errors="replace")
    if stats.reason == "length":
        tally.length += 1
        return None
    try:
        problems = list(Draft202012Validator(schema).iter_errors(json.loads(said)))
    except ValueError as error:
        problems = [error]
    if problems:
        tally.unfit += 1
        return f"{said!r} does not fit: {problems[0]}"
    tally.fit += 1
    return None
