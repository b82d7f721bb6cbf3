"""Answers held to a form, on the engines that have logits: what ends by itself fits.

`tools/check-forms` does the same with thousands of schemas.
"""

import functools
import json
import random
import sys

import numpy as np
import pytest

from rkllmd.engine import open_engine
from rkllmd.engine.constraint import capability
from rkllmd.errors import Code, EngineError, RkllmdError
from rkllmd.runs import Constraint, Form, Limits, LoadSpec, Prompt, Sampling
from tools.forms import Tally, problem_of, try_form
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


NESTED = functools.reduce(lambda inner, _: {"items": inner}, range(300), {})


def fits(engine, schema, text):
    """Whether an answer may end behind this text."""
    try:
        course = engine._constrainer.begin(Constraint((Form(json.dumps(schema)),), begun=text))
        logits = np.zeros(engine.facts.vocabulary, np.float32)
        if not course.complete:
            course.restrict(logits)
    except EngineError:
        return False
    return course.complete or any(
        np.isfinite(logits[token]) for token in range(len(logits)) if engine._ends(token)
    )


AB = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "null"}}}
TREE = {**AB, "properties": {"a": {"$ref": "#"}}, "additionalProperties": False}
KEYWORDS = [
    (True, ["1", '{"a": [null]}'], ["", "[1,2]"]),
    ({"type": "integer"}, ["0", "-7"], ["1.0", "01", '"1"', "true"]),
    ({"type": ["string", "null"]}, ['"a"', "null"], ["1"]),
    ({"enum": ["on", "Küche", 'say "hi"', "tab\t", 2.5, [1], {"k": None}]},
     ['"Küche"', '"say \\"hi\\""', '"tab\\t"', "2.5", "[1]", '{"k": null}'],
     ['"off"', '"o"', '"\\u006fn"', "2.50"]),
    ({"const": ["ein/aus", "😀"]}, ['["ein/aus", "😀"]'], ['["ein\\/aus", "😀"]', "[]"]),
    ({"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 9}]}, ["null", "9"], ["8"]),
    ({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 4}]}, ["3", "4"], ["2", "5"]),
    ({"oneOf": [{"type": "null"}, {"type": "boolean"}]}, ["null", "true"], ["1"]),
    ({"$ref": "#/$defs/x", "$defs": {"x": {"const": 1}}}, ["1"], ["2"]),
    (TREE, ["{}", '{"a": {"a": {}}}'], ['{"a": 1}']),
    ({**AB, "required": ["b"]}, ['{"b": null}', '{"a": 1, "b": null, "c": 0}'],
     ["{}", '{"a": 1}', '{"b": 1}', '{"\\u0061": "x", "b": null}']),
    ({**AB, "additionalProperties": False}, ["{}", '{"a": 1}'], ['{"c": 1}']),
    ({**AB, "additionalProperties": {"type": "integer"}}, ['{"c": 1}', '{"Ü\\n": 1}'],
     ['{"c": null}', '{"b": 1}', '{"\\u0062": 1}']),
    ({"type": "object", "patternProperties": {"^x": {"const": 1}}}, ['{"x1": 1}', '{"y": 2}'],
     ['{"x1": 2}', '{"\\u0078": 2}']),
    ({"type": "object", "minProperties": 1, "maxProperties": 1}, ['{"a": 1}'],
     ["{}", '{"a": 1, "b": 1}']),
    ({"type": "array", "items": {"type": "null"}}, ["[]", "[null, null]"], ["[1]"]),
    ({"type": "array", "prefixItems": [{"const": 1}], "items": {"const": 2}},
     ["[]", "[1]", "[1, 2, 2]"], ["[2]", "[1, 1]"]),
    ({"type": "array", "items": {"const": 1}, "minItems": 1, "maxItems": 2}, ["[1]", "[1, 1]"],
     ["[]", "[1, 1, 1]"]),
    ({"type": "array", "maxItems": 10**9}, ["[]"], ["["]),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ['"😀é"', '"\\n\\"a"'],
     ['"😀"', '"abcd"']),
    ({"type": "string", "pattern": "b+$"}, ['"abb"'], ['"ba"']),
    ({"type": "string", "pattern": "^[a-z]+$", "maxLength": 2}, ['"ab"'], ['"abc"', '"A"', '""']),
    ({"type": "string", "format": "date"}, ['"2024-02-29"'], ['"2024-02-30"', '"24-2-1"']),
    ({"type": "integer", "minimum": -1, "exclusiveMaximum": 12}, ["-1", "11"], ["-2", "12"]),
    ({"type": "number", "exclusiveMinimum": 0.1, "maximum": 0.3}, ["0.11", "0.3"],
     ["0.1", "0.10", "0.31", "1e-1"]),
    ({"type": "number", "multipleOf": 0.1}, ["3.3", "-0.7", "12"], ["3.35", "3.30", "1e1"]),
    ({"type": "integer", "multipleOf": 2.5}, ["5", "-10"], ["4", "7.5"]),
    ({"type": "null", "title": "t", "description": "d", "default": 1, "examples": [1],
      "$comment": "c", "deprecated": True, "x-mine": 1}, ["null"], ["1"]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "good", "bad"), KEYWORDS, ids=lambda value: str(value)[:40])
def test_a_keyword_is_kept(engine, schema, good, bad):
    for text in good:
        assert problem_of(text, schema) is None, "the test itself is wrong"
        assert fits(engine, schema, text), text
    for text in bad:
        assert not fits(engine, schema, text), text


@pytest.mark.parametrize(("schema", "words"), [
    ({"not": {}}, '"not"'),
    ({"uniqueItems": True}, "uniqueItems"),
    ({"contains": {}}, "contains"),
    ({"minContains": 1, "maxContains": 1}, "maxContains.*minContains"),
    ({"if": {}, "then": {}, "else": {}}, "else.*if.*then"),
    ({"propertyNames": {"pattern": "^a"}}, "propertyNames"),
    ({"dependentRequired": {"a": ["b"]}}, "dependentRequired"),
    ({"dependentSchemas": {"a": {}}}, "dependentSchemas"),
    ({"unevaluatedProperties": False}, "unevaluatedProperties"),
    ({"unevaluatedItems": False}, "unevaluatedItems"),
    ({"$dynamicRef": "#a"}, "dynamicRef"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf: its parts may fit together"),
    ({"properties": {"a": {}}, "maxProperties": 1}, "maxProperties"),
    ({"type": "object", "minProperties": 2}, "minProperties"),
    ({"patternProperties": {"^x": {}, "1$": {}}}, "patternProperty"),
    ({"multipleOf": 1 << 40}, "multipleOf"),
    ({"enum": []}, "empty"),
    ({"enum": ["\ud800"]}, "half of a character"),
    ({"$ref": "#"}, "nothing fits it"),
    ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "endless"),
    ({"required": ["a"], "properties": {"a": {"$ref": "#"}}, "type": "object"}, "endless"),
    ({"type": ["string", "integer"], "allOf": [{"type": "null"}]}, "Unsatisfiable"),
    ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength"),
    ({"type": "array", "minItems": 3, "maxItems": 2}, "minItems"),
    ({"type": "array", "items": False, "minItems": 1}, "Unsatisfiable"),
    ({"type": "object", "required": ["a"], "additionalProperties": False}, "required property 'a'"),
    ({"type": "integer", "multipleOf": 7, "minimum": 8, "maximum": 13}, "a multiple of 7"),
    (NESTED, "recursion limit"),
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
