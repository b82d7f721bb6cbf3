"""Holds an answer to a form: says before each token which ones may come.

The work is done by `llguidance` (the extra `rkllmd[constrain]`), the library that llama.cpp has
built in for the same purpose. It is asked directly by every engine that has logits, because
llama.cpp only logs a schema that it cannot keep to, and then goes on without one.

JSON is written as `json.dumps` writes it, one blank behind `,` and `:`. A model that chooses its
own white space can go on with it forever.

What a JSON Schema may ask for is a table in docs/http.md. Whatever cannot be kept is refused before
the answer begins, by llguidance or by `schemas`; words that JSON Schema has not are remarks, as the
standard says.
"""

import importlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from rkllmd.engine.schemas import problem_of
from rkllmd.errors import Code, EngineError, RequestError
from rkllmd.runs import YES, Capability, Constraint, Form, cannot

FORMS_REMEMBERED = 16
REASON_CHARACTERS_MAX = 300
SPECIAL_MARK = b"\xff"
"""In front of the name of a token that is no text."""
GRAMMAR_SHOWN = "\n   1 | "
"""Behind this a message has the grammar."""
VERBOSITY = "<non-verbose/>"
PLAINER = {
    "NoExtensionBias": "nothing fits it",
    "parser error: Too many items": "what fits it is endless, or far too long",
    "oneOf constraints": "oneOf: its parts may fit together (anyOf is kept)",
    "min/maxProperties only": "minProperties, maxProperties: not all properties are required",
}
STYLE = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": False,
    "coerce_one_of": False,
    "json_allowed_escapes": 'nrbtf\\"',
}
"""No `\\u0061`: with it an object's name could be one that is listed, spelled otherwise."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A model's tokens."""

    pieces: Sequence[bytes]
    """What each adds to the text; nothing for one that is no text."""
    ends: Sequence[int]
    """Those that end an answer."""
    encode: Callable[[str], list[int]]
    """As the model knows texts."""


class Course(Protocol):
    """One answer's way through its form."""

    @property
    def complete(self) -> bool:
        """Whether nothing more may come."""

    def restrict(self, logits: npt.NDArray[np.float32]) -> None:
        """Make what may not come impossible."""

    def take(self, token: int) -> None:
        """Go on behind a token."""


class Free:
    """The way of an answer without a form."""

    complete = False

    def restrict(self, logits: npt.NDArray[np.float32]) -> None:
        """Everything may come."""

    def take(self, token: int) -> None:
        """Nothing is remembered."""


class Bound:
    """The way of an answer through its form."""

    def __init__(self, matcher: Any, begun: Iterable[int]) -> None:
        self._matcher = matcher
        for token in begun:
            self.take(token)

    @property
    def complete(self) -> bool:
        """Whether nothing more may come."""
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()

    def restrict(self, logits: npt.NDArray[np.float32]) -> None:
        """Make what may not come impossible."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        allowed = np.unpackbits(bits, count=len(logits), bitorder="little")
        logits[allowed == 0] = -np.inf

    def take(self, token: int) -> None:
        """Go on behind a token."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise EngineError(
                Code.ENGINE_ERROR,
                f"The answer cannot be held to its form: {reason_of(self._matcher.get_error())}.",
            )


class Constrainer:
    """A vocabulary, ready for forms; described to llguidance in the members that it asks for."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._library = importlib.import_module("llguidance")
        self._pieces, self._encode = vocabulary.pieces, vocabulary.encode
        self.special_token_ids = [number for number, piece in enumerate(self._pieces) if not piece]
        self.tokens = [
            piece or SPECIAL_MARK + f"<{number}>".encode()
            for number, piece in enumerate(self._pieces)
        ]
        self.eos_token_id, self.bos_token_id = vocabulary.ends[0], None
        self._tokenizer = self._library.LLTokenizer(
            self._library.TokenizerWrapper(self), eos_token=list(vocabulary.ends)
        )
        self._limits = self._library.LLParserLimits(verbose_errors=False)
        self._compiled = lru_cache(FORMS_REMEMBERED)(self._compile)

    def __call__(self, text: str) -> list[int]:
        """The tokens of a text that a form demands, as the model writes it if that is possible."""
        tokens = [token for token in self._encode(text) if self._pieces[token]]
        if b"".join(self._pieces[token] for token in tokens) == text.encode():
            return tokens
        return list(self._tokenizer.greedy_tokenize(text))

    def begin(self, constraint: Constraint) -> Course:
        """The way of an answer that has begun with `constraint.begun`."""
        matcher = self._compiled(constraint.forms).deep_copy()
        return Bound(matcher, self(constraint.begun))

    def _compile(self, forms: tuple[Form, ...]) -> Any:
        schemas = [json.loads(form.schema) for form in forms]
        if problem := next(filter(None, map(problem_of, schemas)), None):
            raise unkept(problem)
        grammar = grammar_of(forms, schemas)
        matcher = self._library.LLMatcher(
            self._tokenizer, grammar, log_level=0, limits=self._limits
        )
        probe = matcher.deep_copy()
        if not probe.is_error():
            probe.compute_bitmask()  # a form without a first token says so here only
            probe.consume_tokens(probe.compute_ff_tokens())  # and an endless one here
        problems = [probe.get_error()] if probe.is_error() else probe.get_grammar_warnings()
        if problems:
            raise unkept(reason_of(problems[0]))
        return matcher


def grammar_of(forms: Sequence[Form], schemas: Sequence[Any]) -> str:
    """The forms in llguidance's language, Lark with JSON Schemas in it."""
    rules = []
    for number, (form, schema) in enumerate(zip(forms, schemas, strict=True)):
        words = {} if schema is True else schema
        styled = {**words, "x-guidance": STYLE} if isinstance(words, dict) else words
        parts = [f"%json {json.dumps(styled)}"]
        parts[:0] = [quoted(form.opening)] if form.opening else []
        parts += [quoted(form.closing)] if form.closing else []
        rules.append(f"form_{number}: " + " ".join(parts))
    start = " | ".join(f"form_{number}" for number in range(len(rules)))
    return "\n".join([f"start: {start}", *rules])


def unkept(reason: str) -> RequestError:
    """The error for a form that is not begun."""
    return RequestError(
        Code.UNSUPPORTED,
        f"The form that is asked for cannot be kept: {reason[:REASON_CHARACTERS_MAX]}.",
    )


def quoted(text: str) -> str:
    """A text as Lark writes it."""
    return json.dumps(text, ensure_ascii=False)


def reason_of(message: str) -> str:
    """What llguidance says, without our grammar and the marks below it."""
    said = message.partition(GRAMMAR_SHOWN)[0].rpartition("JSON schema: ")[2]
    words = [word for word in said.partition(VERBOSITY)[0].split() if word.strip("^")]
    reason = " ".join(words)
    for found, plainer in PLAINER.items():
        if reason.startswith(found):
            return plainer
    return reason.rstrip(".")[:REASON_CHARACTERS_MAX]


def capability() -> Capability:
    """Whether forms can be kept here, by an engine that has logits."""
    if find_spec("llguidance") is None:
        return cannot("llguidance is not installed (pip install 'rkllmd[constrain]')")
    return YES
