"""The schema that `help` returns says what the codec does."""

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.errors import Code
from rkllmd.protocol.codec import (
    NO_ID,
    OPERATIONS,
    OUTPUT_LINE_BYTES_MAX,
    BadLine,
    decode_request,
    encode_error,
    encode_event,
    encode_ok,
)
from rkllmd.protocol.messages import (
    Delta,
    Noted,
    Progress,
    Queued,
    Sentence,
    ToolCalled,
)
from rkllmd.protocol.schema import of_operation, whole
from tests.protocol.test_codec import EXAMPLES, done, json_values

WHOLE = whole()
VALIDATOR = jsonschema.Draft202012Validator(WHOLE)
EVENT_VALIDATOR = jsonschema.Draft202012Validator({**WHOLE, "$ref": "#/$defs/event"})


def is_taken(request):
    try:
        decode_request(json.dumps(request).encode())
    except BadLine:
        return False
    return True


def test_it_is_a_schema_and_fits_in_a_line():
    jsonschema.Draft202012Validator.check_schema(WHOLE)
    assert len(encode_ok(NO_ID, {"schema": WHOLE})) <= OUTPUT_LINE_BYTES_MAX


@pytest.mark.parametrize("op", OPERATIONS)
def test_every_example_fits(op):
    VALIDATOR.validate({"op": op, **EXAMPLES[op]})
    jsonschema.Draft202012Validator(of_operation(op)).validate({"op": op, **EXAMPLES[op]})


def has_whole_float(value):
    """Integers with a fraction: the schema's integers, not the codec's."""
    if isinstance(value, dict):
        return any(has_whole_float(member) for member in value.values())
    if isinstance(value, list):
        return any(has_whole_float(item) for item in value)
    return isinstance(value, float) and value.is_integer()


@given(st.sampled_from(list(OPERATIONS)), st.data())
def test_codec_and_schema_agree(op, data):
    names = st.sampled_from([*WHOLE["$defs"][f"request.{op}"]["properties"], "zzz"])
    odd = json_values | st.sampled_from(
        ["a", "x.y", ".x", "-", "both", "mean", 0, 1, -1, 0.5, [], ["a"], [{"role": "user"}], {}]
    )
    request = EXAMPLES[op] | data.draw(st.dictionaries(names, odd, max_size=3)) | {"op": op}
    text = json.dumps(request)
    if "NaN" in text or "Infinity" in text or has_whole_float(request):
        return
    if "\\u0000" in text or "\\ud" in text or len(json.dumps(request.get("id"))) > 500:
        return
    if any(isinstance(value, str) and value.endswith("\n") for value in request.values()):
        return  # Python's `$`, unlike ECMA's, matches before a last newline.
    assert is_taken(request) == VALIDATOR.is_valid(request), text


@pytest.mark.parametrize(
    "event",
    [
        Queued(1), Queued(0, 5), Progress("load", 1, 2), Delta("a"), Delta("a", "thinking"),
        Sentence(0, "a", "en"), ToolCalled("1", "f", {}), Noted("log", {}), done(),
        done(text="x" * 40_000),
    ],
)  # fmt: skip
def test_events_fit(event):
    line = json.loads(encode_event(NO_ID, event))
    if event.event == "done":
        line["timing"]["total_ms"] = 0
    EVENT_VALIDATOR.validate(line)


@pytest.mark.parametrize("code", list(Code))
def test_errors_and_ok_fit(code):
    from rkllmd.errors import FACTS

    EVENT_VALIDATOR.validate(json.loads(encode_error(NO_ID, FACTS[code].family(code, "m", a=1))))
    EVENT_VALIDATOR.validate(json.loads(encode_ok(NO_ID, {"anything": 1})))
