"""Arguments fit their schema, are made to where that has one meaning, or the misfit is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from rkllmd.chat.arguments import Misfit, fit

TIMER = {
    "type": "object",
    "properties": {
        "minutes": {"type": "integer", "minimum": 1, "maximum": 90},
        "label": {"type": ["string", "null"], "maxLength": 5},
        "room": {"enum": ["kitchen", "bath"]},
        "steps": {"type": "array", "items": {"type": "number"}, "minItems": 1},
        "when": {"anyOf": [{"type": "object", "required": ["at"]}, {"type": "null"}]},
        "loud": {"type": "boolean"},
    },
    "required": ["minutes"],
    "additionalProperties": False,
}

FITTING = [
    ({"minutes": 5}, {"minutes": 5}),
    ({"minutes": "5"}, {"minutes": 5}),
    ({"minutes": 5.0}, {"minutes": 5}),
    ({"minutes": 5, "loud": "True"}, {"minutes": 5, "loud": True}),
    ({"minutes": 5, "label": "5"}, {"minutes": 5, "label": "5"}),
    ({"minutes": 5, "label": None}, {"minutes": 5, "label": None}),
    ({"minutes": 5, "room": "bath"}, {"minutes": 5, "room": "bath"}),
    ({"minutes": 5, "steps": ["1.5", 2]}, {"minutes": 5, "steps": [1.5, 2]}),
    ({"minutes": 5, "when": {"at": 7}}, {"minutes": 5, "when": {"at": 7}}),
    ({"minutes": 5, "when": None}, {"minutes": 5, "when": None}),
]
MISFITS = [
    ({}, "minutes: found nothing, allowed: a value, since it is required"),
    ([], "the whole: found a list of 0, allowed: object"),
    ({"minutes": "five"}, "minutes: found 'five' (text), allowed: integer"),
    ({"minutes": True}, "minutes: found true, allowed: integer"),
    ({"minutes": 5.5}, "minutes: found 5.5, allowed: integer"),
    ({"minutes": "5.5"}, "minutes: found '5.5' (text), allowed: integer"),
    ({"minutes": 0}, "minutes: found 0, allowed: at least 1"),
    ({"minutes": 91}, "minutes: found 91, allowed: at most 90"),
    ({"minutes": 5, "label": 7}, "label: found 7, allowed: string or null"),
    ({"minutes": 5, "label": "abcdef"}, "allowed: a length of at most 5"),
    ({"minutes": 5, "room": "attic"}, "room: found 'attic' (text), allowed: 'kitchen', 'bath'"),
    ({"minutes": 5, "steps": []}, "steps: found a list of 0, allowed: a length of at least 1"),
    ({"minutes": 5, "steps": [1, "x"]}, "steps[1]: found 'x' (text), allowed: number"),
    ({"minutes": 5, "when": {}}, "when: found an object, allowed: null"),
    ({"minutes": 5, "loud": 1}, "loud: found 1, allowed: boolean"),
    ({"minutes": 5, "colour": "red"}, "colour: found 'red' (text), allowed: nothing"),
]


@pytest.mark.parametrize(("arguments", "fitted"), FITTING)
def test_what_fits(arguments, fitted):
    result = fit(TIMER, arguments)
    assert result == fitted
    assert [type(value) for value in result.values()] == [type(v) for v in fitted.values()]


@pytest.mark.parametrize(("arguments", "words"), MISFITS)
def test_what_does_not_fit(arguments, words):
    with pytest.raises(Misfit) as caught:
        fit(TIMER, arguments)
    assert str(caught.value).endswith(words)


def test_a_text_stays_one_where_one_choice_takes_it():
    either = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert fit(either, "5") == "5"
    assert fit(either, 5) == 5
    assert fit({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "5") == 5


ROOMS = {
    "$defs": {
        "Room": {"enum": ["kitchen", "bath"]},
        "Tree/1": {"type": "object", "properties": {"n": {"type": "integer"}, "in": {"$ref": "#"}}},
    },
    "type": "object",
    "properties": {
        "room": {"$ref": "#/$defs/Room"},
        "next": {"allOf": [{"$ref": "#/$defs/Room"}, {"const": "bath"}], "default": "bath"},
        "tree": {"$ref": "#/$defs/Tree~11"},
        "far": {"$ref": "http://127.0.0.1/schema"},
        "gone": {"$ref": "#/$defs/none/there"},
        "named": {"$ref": "#room"},
    },
}


def test_references_inside_a_schema_are_followed():
    assert fit(ROOMS, {"room": "bath", "next": "bath", "far": 1, "gone": 1, "named": 1})
    inner = fit(ROOMS, {"tree": {"in": {"tree": {"n": "5"}}}})["tree"]["in"]
    assert inner == {"tree": {"n": 5}}
    for arguments, words in (
        ({"room": "attic"}, "room: found 'attic'"),
        ({"next": "kitchen"}, "next: found 'kitchen'"),
        ({"tree": {"in": {"room": "attic"}}}, "tree.in.room: found 'attic'"),
    ):
        with pytest.raises(Misfit, match=words):
            fit(ROOMS, arguments)


def test_a_schema_that_refers_to_itself_ends():
    tree = {"type": "array", "items": {"$ref": "#"}}
    twice = {"anyOf": [tree, {**tree, "maxItems": 9}], "$defs": {"Same": {"$ref": "#/$defs/Same"}}}
    deep = [1]
    for _ in range(40):
        deep = [deep]
    for schema in (twice, {**twice, "$ref": "#/$defs/Same"}):
        with pytest.raises(ValueError, match="more than 256 references"):
            fit(schema, deep)


def test_what_a_pattern_may_allow_is_passed_on():
    schema = {"patternProperties": {"^x": {}}, "additionalProperties": False}
    assert fit(schema, {"x1": 1}) == {"x1": 1}


def test_true_is_not_one():
    with pytest.raises(Misfit):
        fit({"enum": [1]}, True)
    with pytest.raises(Misfit):
        fit({"const": False}, 0)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "5", "true", 1.5]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)
types = st.sampled_from(["object", "array", "string", "boolean", "null", "integer", "number"])
schemas = st.recursive(
    st.fixed_dictionaries({}, optional={"type": types, "minimum": st.integers(-3, 3)})
    | st.booleans(),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": types | st.lists(types, min_size=1, max_size=2),
            "enum": st.lists(plain, min_size=1, max_size=3),
            "items": inner,
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
            "additionalProperties": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "maxItems": st.integers(0, 3),
            "minLength": st.integers(0, 3),
        },
    ),
    max_leaves=5,
)


@given(schemas, plain)
def test_what_is_passed_on_is_valid_and_what_is_valid_is_passed_on(schema, value):
    """The reference is `jsonschema`, on what we say we check."""
    validator = Draft202012Validator(schema)
    try:
        fitted = fit(schema, value)
    except Misfit:
        assert not validator.is_valid(value)
    else:
        assert validator.is_valid(fitted)


@given(st.recursive(plain, lambda inner: st.dictionaries(
    st.sampled_from(
        ["type", "enum", "required", "properties", "items", "anyOf", "minimum", "$ref"]
    ), inner
)), plain)  # fmt: skip
def test_a_schema_that_is_none_breaks_nothing(schema, value):
    try:
        fit(schema, value)
    except Misfit:
        return
