"""What llguidance would take, and not keep."""

import pytest

from rkllmd.engine.schemas import problem_of

KEPT = [
    True, "text", {"const": 1 << 53}, {"enum": ["\n\t\"\\/", "😀", "\u0085"]},
    {"multipleOf": 0.01, "items": {"multipleOf": 15}}, {"multipleOf": "7"},
    {"minProperties": 1}, {"minProperties": 2, "required": ["a"]},
    {"minProperties": 5, "additionalProperties": False},
    {"pattern": r"^\p{L}+\d\s\.[^ -~]\u00e9$"}, {"properties": {"multipleOf": {"type": "number"}}},
]  # fmt: skip


@pytest.mark.parametrize("schema", KEPT, ids=str)
def test_what_is_usual_is_left_to_the_library(schema):
    assert problem_of(schema) is None


@pytest.mark.parametrize(("schema", "words"), [
    ({"const": (1 << 53) + 1}, "an integer is above"),
    ({"items": [{"minimum": -(10**400)}]}, "an integer is above"),
    ({"multipleOf": 0}, "multipleOf has to be above 0"),
    ({"multipleOf": -0.5}, "multipleOf has to be above 0"),
    ({"anyOf": [{"multipleOf": 123_456_789}]}, "multipleOf has too many digits"),
    ({"multipleOf": 1e300}, "multipleOf has too many digits"),
    ({"allOf": [{"multipleOf": 997}, {"multipleOf": 991}]}, "all of them together (991, 997)"),
    ({"$ref": "#/x", "x": {"multipleOf": 1e6, "allOf": [{"multipleOf": 0.7}]}}, "multipleOf"),
    ({"minProperties": 2}, "minProperties above 1"),
    ({"minProperties": 3, "required": ["a", "a"], "additionalProperties": True}, "above 2"),
    ({"minProperties": 2, "additionalProperties": False, "patternProperties": {}}, "above 1"),
    ({"enum": ["a\x01"]}, r"'a\x01' has a control character"),
    ({"properties": {"\x7f": {}}}, "has a control character"),
    ({"const": {"a": ["\ud800"]}}, "half of a character"),
    ({"pattern": r"^\x07$"}, "pattern"),
    ({"pattern": r"\p{Cc}"}, "pattern"),
    ({"pattern": r"[[:cntrl:]]"}, "pattern"),
    ({"patternProperties": {r"\u001f": {}}}, "pattern"),
])  # fmt: skip
def test_what_cannot_be_kept_is_told(schema, words):
    assert words in problem_of(schema)
