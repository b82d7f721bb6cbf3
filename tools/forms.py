"""One answer that is held to a schema, and what came of it."""

import dataclasses
import json
from dataclasses import dataclass
from decimal import Decimal
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
    if problem := problem_of(said, schema):
        tally.unfit += 1
        return f"{said!r} does not fit: {problem}"
    tally.fit += 1
    return None


def problem_of(said: str, schema: Any) -> Exception | None:
    """Why an answer does not fit; in decimal digits, by which 3.3 is a multiple of 0.1."""
    exact = Draft202012Validator(json.loads(json.dumps(schema), parse_float=Decimal))
    try:
        return next(exact.iter_errors(json.loads(said, parse_float=Decimal)), None)
    except ValueError as error:
        return error
