"""Answers held to a form, on the engines that have logits: what ends by itself fits.

`tools/check-forms` does the same with thousands of schemas.
"""

import json
import random
import sys

import pytest

from rkllmd.engine import open_engine
from rkllmd.engine.constraint import capability
from rkllmd.errors import Code, RkllmdError
from rkllmd.runs import Constraint, Form, Limits, LoadSpec, Prompt, Sampling
from tools.forms import Tally, try_form
from tools.random_model import write_random_model
from tools.schemas import random_schema

SEEDS = 24
OBJECT = Form('{"type": "object"}')
ON = Form('{"enum": ["on", "off"]}', "<call>\n", "\n</call>")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.gguf"
    write_random_model(path)
    return path


@pytest.fixture(scope="module", params=["tiny", "llama"])
def engine(request, model_path):
    spec = LoadSpec(str(model_path), threads=1)
    engine = open_engine(request.param).load(spec, lambda *_: None)
    yield engine
    engine.close()


def say(engine, constraint, most=60, stop_after=None, **sampling):
    """What a run says, and its figures."""
    pieces = []
    stats = engine.run(
        Prompt.of_tokens(engine.tokenize("light" + constraint.begun)),
        Sampling(**{"temperature": 0.0, **sampling}, constraint=constraint),
        Limits(most),
        pieces.append,
        lambda: len(pieces) == stop_after,
        lambda *_: None,
    )
    assert stats.generated_tokens == len(pieces)
    return b"".join(pieces).decode(errors="replace"), stats


def test_every_finished_answer_fits(engine):
    tally = Tally()
    problems = [
        try_form(engine, random_schema(random.Random(seed)), seed, 200, tally)
        for seed in range(SEEDS)
    ]
    assert [problem for problem in problems if problem] == []
    assert tally.fit > SEEDS // 2


def test_an_answer_without_an_end_ends_with_length(engine):
    text, stats = say(engine, Constraint((Form('{"type": "array", "minItems": 99}'),)), most=20)
    assert (text[0], stats.reason, stats.generated_tokens) == ("[", "length", 20)


def test_one_of_several_forms_is_chosen_by_the_model(engine):
    forms = (ON, Form('{"const": 1}', "a "), Form('{"const": 2}', "b "))
    allowed = {'<call>\n"on"\n</call>', '<call>\n"off"\n</call>', "a 1", "b 2"}
    said = set()
    for seed in range(12):
        text, stats = say(engine, Constraint(forms), temperature=5.0, top_k=0, top_p=1.0, seed=seed)
        assert stats.reason == "stop"
        said.add(text)
    assert said <= allowed
    assert len(said) > 1


def test_an_answer_goes_on_in_the_middle_of_its_form(engine):
    whole, stats = say(engine, Constraint((ON,)))
    assert stats.reason == "stop"
    for cut in range(len(whole) + 1):
        rest, stats = say(engine, Constraint((ON,), begun=whole[:cut]))
        assert whole[:cut] + rest in ('<call>\n"on"\n</call>', '<call>\n"off"\n</call>')
        assert stats.reason == "stop"
    assert (rest, stats.generated_tokens) == ("", 0)


def test_what_does_not_begin_a_form_is_an_error(engine):
    with pytest.raises(RkllmdError) as refused:
        say(engine, Constraint((ON,), begun="<cool>"))
    assert refused.value.code is Code.ENGINE_ERROR


def test_a_stopped_answer_is_not_complete_and_the_next_one_is_free(engine):
    text, stats = say(engine, Constraint((ON,)), stop_after=2)
    assert (stats.reason, stats.generated_tokens) == ("cancelled", 2)
    assert not text.endswith(">")
    held, _ = say(engine, Constraint((OBJECT,)), most=5)
    assert held.startswith("{")
    pieces = []
    prompt = Prompt.of_tokens(engine.tokenize("light"))
    engine.run(
        prompt, Sampling(temperature=0), Limits(5), pieces.append, lambda: False, lambda *_: None
    )
    assert not b"".join(pieces).startswith(b"{")


@pytest.mark.parametrize(("schema", "words"), [
    ({"not": {}}, "Unimplemented keys"),
    ({"uniqueItems": True}, "Unimplemented keys"),
    ({"if": {}, "then": {}}, "Unimplemented keys"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
    ({"type": "string", "pattern": "(?=a)"}, "look-around"),
    ({"type": "string", "format": "klingon"}, "Unknown format: klingon"),
    ({"type": "integer", "minimum": 3, "maximum": 2}, "Unsatisfiable"),
    ({"$ref": "https://example.org/schema"}, "not present in a registry"),
    ({"type": "thing"}, "Invalid type: thing"),
    ({"properties": 3}, "."),
    ({"x-guidance": {"lenient": True}, "not": {}}, "Unimplemented keys"),
    (False, "schema is false"),
    ("words", "."),
])  # fmt: skip
def test_a_schema_beyond_what_is_covered_is_refused(engine, schema, words):
    engine.reset()
    with pytest.raises(RkllmdError, match=f"cannot be kept: .*{words}") as refused:
        say(engine, Constraint((Form(json.dumps(schema)),)))
    assert refused.value.code is Code.UNSUPPORTED
    assert "form_0" not in refused.value.message
    assert engine.held().units == 0, "something was computed"


def test_without_the_library_the_capability_says_how_to_get_it(monkeypatch):
    assert capability()
    monkeypatch.setitem(sys.modules, "llguidance", None)
    assert "pip install 'rkllmd[constrain]'" in capability().reason
