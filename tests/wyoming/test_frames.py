"""Events in bytes: any cut, any garbage."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wyoming.event import Event as Theirs
from wyoming.event import read_event, write_event

from rkllmd.errors import Code, RequestError
from rkllmd.transport.wyoming.frames import BLOCK_BYTES_MAX, Event, EventReader, encode

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
events = st.builds(
    Theirs,
    type=texts.filter(lambda text: len(text) > 0),
    data=st.dictionaries(texts, values, max_size=3),
    payload=st.none() | st.binary(max_size=30),
)


def written(*some):
    """The bytes as the `wyoming` package writes them."""
    into = io.BytesIO()
    for event in some:
        write_event(event, into)
    return into.getvalue()


@given(st.lists(events, max_size=4), st.lists(st.integers(0, 400), max_size=5))
def test_the_packages_events_are_read_however_they_are_cut(some, cuts):
    data = written(*some)
    reader, found, place = EventReader(), [], 0
    for cut in [*sorted(cut for cut in cuts if cut < len(data)), len(data)]:
        found += reader.feed(data[place:cut])
        place = cut
    assert found == [Event(event.type, event.data) for event in some]


@given(st.dictionaries(texts, values, max_size=3))
def test_the_package_reads_what_is_written(data):
    event = read_event(io.BytesIO(encode("handled", data)))
    assert (event.type, event.data) == ("handled", data)


def test_the_version_is_a_text():
    assert isinstance(json.loads(encode("pong").splitlines()[0])["version"], str)
    assert isinstance(json.loads(encode("pong", {"text": "x"}).splitlines()[0])["version"], str)


def test_the_block_goes_before_the_line():
    block = b'{"text":"b"}'
    line = b'{"type":"ping","data":{"text":"a","more":1},"data_length":%d}\n' % len(block)
    (event,) = EventReader().feed(line + block)
    assert event == Event("ping", {"text": "b", "more": 1})


def test_inline_data_and_blank_lines():
    found = EventReader().feed(b'\n \r\n{"type":"ping","data":{"text":"a"}}\r\n{"type":"x"}\n')
    assert found == [Event("ping", {"text": "a"}), Event("x", {})]


def test_a_large_block_is_taken_and_a_payload_of_any_size_is_passed_over():
    text = "x" * (BLOCK_BYTES_MAX - 20)
    sent = written(
        Theirs("transcript", {"text": text}), Theirs("audio-chunk", {}, b"s" * 9_000_000)
    )
    reader = EventReader()
    found = [
        event for at in range(0, len(sent), 65_536) for event in reader.feed(sent[at : at + 65_536])
    ]
    assert [event.type for event in found] == ["transcript", "audio-chunk"]
    assert found[0].data == {"text": text}
    assert len(reader._rest) == 0


@pytest.mark.parametrize(
    ("sent", "code", "words"),
    [
        (b"GET / HTTP/1.1\r\n", Code.BAD_JSON, "not a JSON object"),
        (b"\xff\n", Code.BAD_JSON, "not UTF-8"),
        (b"[1]\n", Code.BAD_JSON, "not a JSON object"),
        (b'{"type":1}\n', Code.BAD_REQUEST, "type: found 1, allowed: a text"),
        (b"{}\n", Code.BAD_REQUEST, "type: found nothing"),
        (b'{"type":"a","data":3}\n', Code.BAD_REQUEST, "data: found 3"),
        (b'{"type":"a","data_length":-1}\n', Code.BAD_REQUEST, "data_length: found -1"),
        (b'{"type":"a","data_length":99999999}\n', Code.BAD_REQUEST, "allowed: an integer from 0"),
        (b'{"type":"a","data_length":true}\n', Code.BAD_REQUEST, "data_length: found true"),
        (b'{"type":"a","payload_length":-1}\n', Code.BAD_REQUEST, "payload_length: found -1"),
        (b'{"type":"a","data_length":2}\n[]', Code.BAD_JSON, "not a JSON object"),
        (b'{"type":"a","data_length":7}\n{"a":1,', Code.BAD_JSON, "not JSON"),
        (b"x" * (BLOCK_BYTES_MAX + 1), Code.LINE_TOO_LONG, "more than 4194304 bytes"),
    ],
)
def test_what_is_no_event_is_told_once_and_ends_the_reading(sent, code, words):
    reader = EventReader()
    (problem,) = reader.feed(sent)
    assert (type(problem), problem.code) == (RequestError, code)
    assert words in problem.message
    assert reader.feed(b'{"type":"ping"}\n') == []


@given(st.binary(max_size=200), st.integers(1, 50))
def test_garbage_gives_events_or_one_problem(data, size):
    reader = EventReader()
    found = [one for at in range(0, len(data), size) for one in reader.feed(data[at : at + size])]
    assert all(isinstance(one, Event) for one in found[:-1])
