"""Whatever the bytes are: a request, or an error that names what was wrong."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.errors import FACTS, Code, RequestError
from rkllmd.protocol.codec import (
    NO_ID,
    OPERATIONS,
    OUTPUT_LINE_BYTES_MAX,
    BadLine,
    RequestId,
    decode_request,
    encode_error,
    encode_event,
    encode_ok,
)
from rkllmd.protocol.messages import Delta, Done, Ping, Sentence, Timing, ToolCalled, Usage

EXAMPLES = {
    "hello": {}, "help": {"about": "chat"}, "ping": {}, "status": {}, "reload": {},
    "log.level": {"level": "debug"},
    "watch": {"kinds": ["state", "log"]},
    "chat": {
        "messages": [{"role": "user", "content": [
            {"type": "text", "text": "hi"}, {"type": "image_embedding", "data": "AAAA"},
            {"type": "audio_embedding", "path": "/x.npy"},
        ]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": 1}}}],
        "stop": ["\n"], "stream": False, "use_cache": "other", "temperature": 0, "session": "k",
    },
    "complete": {"prompt": "once", "stop": "x", "stream": "tokens"},
    "prefill": {"text": "turn on"},
    "cancel": {"target": [1]},
    "embed": {"input": ["a", "b"], "pooling": "cls"},
    "tokenize": {"text": "a"}, "logits": {"prompt": "once", "top": 3},
    "session.list": {}, "session.show": {"session": "s"}, "session.reset": {"session": "s"},
    "session.truncate": {"session": "s", "chars": 4},
    "model.list": {}, "model.show": {"model": "m"}, "model.load": {"model": "m"},
    "model.unload": {"model": "m"},
    "cache.list": {}, "cache.show": {"name": "n"},
    "cache.create": {"model": "m", "name": "n", "prompt": "p", "overwrite": True},
    "cache.build": {"model": "m", "force": True}, "cache.delete": {"model": "m", "name": "n"},
    "cache.verify": {},
}  # fmt: skip


def refusal(line):
    with pytest.raises(BadLine) as caught:
        decode_request(line if isinstance(line, bytes) else line.encode())
    return caught.value


def test_every_operation_of_the_table_has_an_example_that_is_read():
    assert EXAMPLES.keys() == OPERATIONS.keys()
    for op, members in EXAMPLES.items():
        line = json.dumps({"op": op, **members, "x_new": 1, "later": None}).encode()
        assert type(decode_request(line).request) is OPERATIONS[op]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "image_url", "image_url": {}},
         ".type: found 'image_url' (text), allowed: 'image_embedding', 'audio_embedding', 'text'"),
        ({"type": "image_embeding"}, "did you mean 'image_embedding'?"),
        ({"type": "image_embedding", "data": 5}, ".data: found 5, allowed: "),
        ({"type": "text"}, ".text: found nothing, allowed: a text"),
        ({"txt": "hi"}, ".text: found nothing, allowed: a text"),
        (5, "found 5, allowed: an object"),
    ],
)  # fmt: skip
def test_a_part_of_a_message_is_refused_as_what_it_says_it_is(part, words):
    request = {"op": "chat", "messages": [{"role": "user", "content": [part]}]}
    error = refusal(json.dumps(request))
    assert error.code is Code.BAD_REQUEST
    assert "messages[0].content[0]" in error.message
    assert words in error.message, error.message


@pytest.mark.parametrize(
    ("line", "identity", "words"),
    [
        (b"", "null", "object"),
        (b"[]", "null", "object"),
        (b'"op"', "null", "object"),
        (b"{", "null", "name in double quotes"),
        (b'{"id":1', "1", "','"),
        (b'{"id":1,"op":', "1", "value"),
        (b'{"id":1,"op":"ping",}', "1", "name in double quotes"),
        (b'{"id":1,"op":"ping"} {}', "1", "Extra data"),
        (b"\xef\xbb\xbf{}", "null", "byte order mark"),
        (b'{"id":1,"a":"\xff"}', "null", "not UTF-8 at byte 13"),
        (b'{"id":1,"op":"ping","id":2}', "1", "'id' twice"),
        (b'{"id":1,"a":{"b":[{"c":1,"c":1}]}}', "1", "'c' twice"),
        (b'{"id":1,"a":NaN}', "1", "NaN"),
        (b'{"id":1,"a":-Infinity}', "1", "-Infinity"),
        (b'{"id":1e999,"op":"ping"}', "null", "1.8e308"),
        (b'{"id":1,"a":[1e999]}', "1", "1.8e308"),
        (b'{"id":1,"a":' + b"9" * 401 + b"}", "1", "401 characters"),
        (b'{"id":1,"a":0.' + b"9" * 5000 + b"}", "1", "5002 characters"),
        (b'{"id":1,"a":"\\ud83d"}', "1", "surrogate"),
        (b'{"id":1,"a":["\\uDE00\\ud83d"]}', "1", "surrogate"),
        (b'{"id":1,"\\ud83d":1}', "1", "surrogate"),
        (b'{"id":"\\ud83d","op":"ping"}', "null", "surrogate"),
        (b'{"id":1,"a":{"b":"\\u0000"}}', "1", "NUL"),
        (b'{"id":1,"a":"\0"}', "1", "control character"),
        (b'{"id":1,"a":' + b"[" * 64 + b"]" * 64 + b"}", "1", "nested deeper than 64"),
        (b'{"id":1,"a":' + b"[" * 200_000, "1", "nested deeper than 64"),
        (b'{"id":1,"a":' + b'{"a":' * 200_000, "1", "nested deeper than 64"),
    ],
)  # fmt: skip
def test_bad_json_says_why_and_keeps_the_id_that_stood_before(line, identity, words):
    error = refusal(line)
    assert (error.code, error.id.text) == (Code.BAD_JSON, identity)
    assert words in error.message


@pytest.mark.parametrize(
    "line",
    [
        '{"op":"ping","a":"😀"}',
        '{"op":"ping","a":"\\ud83d\\ude00 \\\\u0000"}',
        '{"op":"ping","a":' + "[" * 63 + "]" * 63 + "}",
        '{"op":"ping","a":"' + "[{" * 5000 + '"}',
        '{"op":"ping","a":' + "9" * 400 + ',"b":-1.7e308,"c":1e-999}',
        ' \t{ "op" : "ping" , "a" : null }\t',
        '{"\\u006fp":"ping"}',
    ],
)
def test_odd_but_right(line):
    assert decode_request(line.encode()).request == Ping()


@pytest.mark.parametrize(
    ("line", "code", "member"),
    [
        ('{"id":1}', "bad_request", "op"),
        ('{"id":1,"op":null}', "bad_request", "op"),
        ('{"id":1,"op":7}', "bad_request", "op"),
        ('{"id":1,"op":"chat"}', "bad_request", "text"),
        ('{"id":1,"op":"chat","text":null}', "bad_request", "text"),
        ('{"id":1,"op":"chat","text":5}', "bad_request", "text"),
        ('{"id":1,"op":"chat","text":"a","temperature":"hot"}', "bad_request", "temperature"),
        ('{"id":1,"op":"chat","text":"a","temperature":-1}', "bad_request", "temperature"),
        ('{"id":1,"op":"chat","text":"a","top_k":true}', "bad_request", "top_k"),
        ('{"id":1,"op":"chat","messages":[{"role":"usr"}]}', "bad_request", "messages[0].role"),
        ('{"id":1,"op":"chat","text":"a","tools":[{"type":"x"}]}', "bad_request", "tools[0].type"),
        ('{"id":1,"op":"chat","text":"a","top_k":1.5}', "bad_request", "top_k"),
        ('{"id":1,"op":"cancel"}', "bad_request", "target"),
        ('{"id":1,"op":"cancel","all":false}', "bad_request", "target"),
        ('{"id":1,"op":"model.load","model":"../x"}', "bad_request", "model"),
    ],
)
def test_bad_requests_name_the_member(line, code, member):
    error = refusal(line)
    assert (error.id.text, error.code, error.details["member"]) == ("1", code, member)
    assert error.details["found"]
    assert error.details["allowed"]
    assert error.message.startswith(f"{member}: found ")


def test_a_number_without_a_fraction_is_an_integer():
    request = decode_request(b'{"op":"chat","text":"a","top_k":40.0,"seed":1e3}').request
    assert (repr(request.top_k), repr(request.seed)) == ("40", "1000")


@pytest.mark.parametrize("target", [0, False, "", [], {}, 1.5])
def test_a_cancel_takes_any_target(target):
    line = json.dumps({"op": "cancel", "target": target}).encode()
    assert decode_request(line).request.target == target


def test_an_unknown_operation_names_the_nearest():
    error = refusal('{"id":[1],"op":"chta"}')
    assert (error.code, error.id.text, error.details) == ("unknown_op", "[1]", {"nearest": "chat"})


def test_an_id_that_is_too_long_is_refused():
    error = refusal(json.dumps({"id": "é" * 1024, "op": "ping"}))
    assert (error.code, error.details["member"], error.id) == ("bad_request", "id", NO_ID)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
members = st.sampled_from(
    ["op", "id", "text", "messages", "stop", "stream", "tools", "input", "model", "target", "seed"]
)
requests = st.dictionaries(members | st.text(max_size=3), json_values, max_size=6)


def answer(line):
    """The line is read, or answered with one line of the documented codes."""
    try:
        decode_request(line)
    except BadLine as error:
        refused = error
    else:
        return
    assert refused.code in {Code.BAD_JSON, Code.BAD_REQUEST, Code.UNKNOWN_OP}
    reply = encode_error(refused.id, refused)
    assert json.loads(reply)["final"] is True
    assert len(reply) <= OUTPUT_LINE_BYTES_MAX


@given(st.binary(max_size=300))
def test_any_bytes_are_answered(line):
    answer(line)


@given(requests, st.sampled_from([*OPERATIONS, None]), st.data())
def test_any_json_and_any_damage_to_it_is_answered(request, op, data):
    if op:
        request["op"] = op
    line = json.dumps(request).encode()
    answer(line)
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, min(start + 4, len(line))))
    answer(line[:start] + data.draw(st.binary(max_size=4)) + line[end:])


@given(json_values.filter(lambda value: "NaN" not in json.dumps(value)), st.booleans())
def test_ids_survive(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    try:
        request_id = decode_request(f'{{"op":"ping","id":{text}}}'.encode(errors="replace")).id
    except BadLine:
        return
    assert f'{{"id":{text},'.encode() == encode_ok(request_id, {})[: len(text.encode()) + 7]


def done(**changes):
    known = {
        "text": "x", "reason": "stop", "model": "m", "session": None,
        "usage": Usage(1, 0, 1, False), "timing": Timing(0, 0, 0, None, math.inf, math.nan),
    }  # fmt: skip
    return Done(**(known | changes))


@given(st.text(st.characters(codec=None), max_size=200), st.integers(1, 400), st.text(max_size=80))
def test_long_texts_come_in_lines_that_fit(text, times, identity):
    request_id = RequestId(json.dumps(identity), identity)
    for event in [Delta(text * times), Delta(text * times, "thinking"), Sentence(3, text * times)]:
        lines = encode_event(request_id, event).splitlines(keepends=True)
        assert all(len(line) <= OUTPUT_LINE_BYTES_MAX for line in lines)
        heard = [json.loads(line) for line in lines]
        whole = (text * times).encode(errors="replace").decode()
        assert "".join(line["text"] for line in heard) == whole
        assert {line["id"] for line in heard} == {identity}
        assert not any("final" in line for line in heard)


def test_the_text_is_left_out_of_done_where_it_does_not_fit():
    short = json.loads(encode_event(NO_ID, done(text="x" * 32_000)))
    assert len(short["text"]) == 32_000
    assert "truncated" not in short
    for text in ["x" * 32_768, "é" * 20_000, "\x01" * 6000]:
        line = encode_event(NO_ID, done(text=text, warnings=("w",)))
        assert len(line) <= OUTPUT_LINE_BYTES_MAX
        heard = json.loads(line)
        assert (heard["truncated"], heard["warnings"]) == (True, ["w"])
        assert "text" not in heard
    line = encode_event(NO_ID, done(warnings=("w" * 100,) * 1000))
    assert len(line) <= OUTPUT_LINE_BYTES_MAX


def test_numbers_that_are_not_finite_become_null():
    timing = json.loads(encode_event(NO_ID, done()))["timing"]
    assert (timing["total_ms"], timing["tokens_per_s"]) == (None, None)
    assert json.loads(encode_ok(NO_ID, {"a": [math.nan, {"b": -math.inf}], "u": done().timing}))[
        "a"
    ] == [None, {"b": None}]


def test_optional_members_without_a_value_are_left_out():
    assert encode_event(NO_ID, Delta("hi")) == b'{"id":null,"event":"delta","text":"hi"}\n'
    assert json.loads(encode_event(NO_ID, done()))["session"] is None


def test_texts_that_utf8_cannot_say_do_not_stop_a_reply():
    assert json.loads(encode_ok(NO_ID, {"file": "a\udcff"}))["file"] == "a?"


def test_a_long_ok_and_a_long_tool_call_stay_whole():
    assert (
        len(json.loads(encode_ok(NO_ID, {"embeddings": [[0.5] * 1024] * 50}))["embeddings"]) == 50
    )
    call = ToolCalled("1", "f", {"a": "x" * 50_000})
    assert json.loads(encode_event(NO_ID, call))["arguments"] == call.arguments


@pytest.mark.parametrize("code", list(Code))
def test_every_code_becomes_a_line(code):
    error = FACTS[code].family(code, "é" * 40_000, x=b"bytes".hex() * 10_000)
    line = encode_error(RequestId("1", 1), error)
    assert len(line) <= OUTPUT_LINE_BYTES_MAX
    heard = json.loads(line)
    assert (heard["id"], heard["code"], heard["final"]) == (1, code, True)
    assert heard["hint"] == FACTS[code].next_step


def test_a_reply_beyond_all_bounds_asks_for_less(monkeypatch):
    monkeypatch.setattr("rkllmd.protocol.codec.OK_LINE_BYTES_MAX", 100)
    with pytest.raises(RequestError, match="ask for less"):
        encode_ok(NO_ID, {"a": "x" * 100})


def test_the_specification_names_every_operation_event_and_code():
    import rkllmd.protocol
    from rkllmd.protocol.codec import EVENTS

    text = rkllmd.protocol.__doc__
    for word in [*OPERATIONS, *EVENTS, *Code]:
        assert word in text, word
