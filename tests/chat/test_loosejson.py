"""JSON as small models write it is read when it has one meaning."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.chat.loosejson import read

GOOD = [
    ('{"a": 1}', {"a": 1}),
    ('  {"a": 1} and so on', {"a": 1}),
    ("{'a': 'b'}", {"a": "b"}),
    ("{'a': 'it's \"late\"'}", {"a": 'it\'s "late"'}),
    (r"{'a': 'it\'s'}", {"a": "it's"}),
    ("{'a': \"it's\"}", {"a": "it's"}),
    ("{a: 1, b_c: [true]}", {"a": 1, "b_c": [True]}),
    ("{'a': True, 'b': False, 'c': None}", {"a": True, "b": False, "c": None}),
    ('{"a": [1, 2,], }', {"a": [1, 2]}),
    ('{"a": {"b": "c"', {"a": {"b": "c"}}),
    ('{"a": ["x", "y"', {"a": ["x", "y"]}),
    ('{"a": [1, 2 ]', {"a": [1, 2]}),
    ('{"a": "line\nline"}', {"a": "line\nline"}),
    (r'{"a": "C:\dir \u00e9 \n"}', {"a": "C:\\dir é \n"}),
    ('{"a": {}', {"a": {}}),
    ("{'a': '\\u00e9 \\x'}", {"a": "é \\x"}),
    ('{"a": -1.5e3}', {"a": -1500.0}),
    ("[]", []),
    ('"word" etc', "word"),
]
BAD = [
    "",
    "hello",
    '{"a": "not clo',
    '{"a": 1',
    '{"a": [1, 2',
    '{"a": tru',
    '{"a": true',
    '{"a" 1}',
    '{"a"',
    '{"a":',
    '{"a": 1 "b": 2}',
    '{"a": yes}',
    '{"a": NaN}',
    '{"a": 1e999}',
    "{'a': Infinity}",
    '{"a": 01}',
    "[" * 100_000,
    '{"a":' * 100_000,
    "{'a': " + "9" * 5000 + "}",
    "<tool>",
    "{'the boys', 'said'}",
]


@pytest.mark.parametrize(("text", "value"), GOOD)
def test_one_meaning(text, value):
    assert read(text, ended=False)[0] == value


@pytest.mark.parametrize("text", BAD)
def test_no_meaning_or_several(text):
    with pytest.raises(ValueError):  # noqa: PT011 - any reason will do
        read(text, ended=False)


def test_what_follows_tells_that_a_number_was_complete():
    assert read('{"a": 15', ended=True)[0] == {"a": 15}
    assert read("15", ended=True)[0] == 15


def test_the_end_is_where_the_value_ends():
    assert read('{"a": 1}, {"b": 2}', ended=False)[1] == len('{"a": 1}')
    assert read("{'a': 1}, {'b': 2}", ended=False)[1] == len("{'a': 1}")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@given(values)
def test_json_is_read_as_it_is(value):
    assert read(json.dumps(value) + " ", ended=True)[0] == value


@given(values)
def test_objects_as_python_prints_them_are_read(value):
    printed = str({"value": value})
    if "'" not in printed.replace("{'value'", "") and "\\" not in printed:
        assert read(printed, ended=False)[0] == {"value": value}


@given(st.text(alphabet="{}[]'\":,.-+01eE\\ \nabtrueNonf", max_size=40), st.booleans())
def test_garbage_is_a_value_or_an_error(text, ended):
    try:
        value, end = read(text, ended=ended)
    except ValueError:
        return
    json.dumps(value)
    assert 0 < end <= len(text)
