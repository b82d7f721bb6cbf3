"""The frames between daemon and worker: any split gives the same, garbage gives an error."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.runs import (
    UNKNOWN,
    YES,
    Adapter,
    Capabilities,
    Limits,
    LoadSpec,
    Media,
    ModelFacts,
    Prompt,
    RunStats,
    Sampling,
    StateInfo,
    cannot,
)
from rkllmd.worker.frames import (
    HEADER_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    Frame,
    FrameError,
    FrameReader,
    encode,
    encode_piece,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
headers = st.dictionaries(st.text().filter(lambda name: name != "payload"), values, max_size=4)
messages = st.lists(st.tuples(headers, st.binary(max_size=200)), max_size=6)


def test_a_piece_is_a_frame_as_any_other():
    said = "21 °C\n".encode()
    assert encode_piece(7, said) == encode({"call": 7, "event": "piece"}, said)


def test_nothing_stands_behind_a_header():
    with pytest.raises(FrameError, match="something behind it"):
        FrameReader().feed(b'{"call":7}{}\n')


@given(messages, st.lists(st.integers(1, 50), min_size=1))
def test_any_split_gives_the_same_frames(messages, cuts):
    data = b"".join(encode(header, payload) for header, payload in messages)
    reader, frames, at = FrameReader(), [], 0
    while at < len(data):
        step = cuts[at % len(cuts)]
        frames += reader.feed(data[at : at + step])
        at += step
    for frame in frames:
        frame.header.pop("payload", None)
    assert [(frame.header, frame.payload) for frame in frames] == messages


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_garbage_gives_frames_or_a_frame_error(parts):
    reader = FrameReader()
    try:
        for part in parts:
            assert all(isinstance(frame, Frame) for frame in reader.feed(part))
    except FrameError:
        pass


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b"\xff",
        "{}".encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 30_000,
        b"1" * 10_000,
        b'{"payload":-1}',
        b'{"payload":true}',
        b'{"payload":1.0}',
        b'{"payload":"1"}',
        b'{"payload":null}',
        b'{"payload":%d}' % (PAYLOAD_BYTES_MAX + 1),
        b'{"a":"' + b"x" * HEADER_BYTES_MAX + b'"}',
    ],
)
def test_a_bad_header_is_refused(line):
    with pytest.raises(FrameError):
        FrameReader().feed(line + b"\n")


def test_an_endless_header_is_refused_before_its_end():
    reader = FrameReader()
    for _ in range(HEADER_BYTES_MAX // 1024):
        assert reader.feed(b"x" * 1024) == []
    with pytest.raises(FrameError):
        reader.feed(b"x")


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        ({"a": float("nan")}, b""),
        ({"a": object()}, b""),
        ({"a": "x" * HEADER_BYTES_MAX}, b""),
        ({}, bytes(PAYLOAD_BYTES_MAX + 1)),
    ],
)
def test_what_nobody_could_read_is_not_written(header, payload):
    with pytest.raises(FrameError):
        encode(header, payload)


FACTS = ModelFacts(
    engine="tiny",
    engine_version="1",
    architecture="llama",
    context_tokens=2048,
    memory_bytes=5,
    load_ms=1.5,
    capabilities=Capabilities(*[YES] * 8, UNKNOWN, cannot("no eyes"), cannot("no ears")),
    chat_template="{{ x }}\n",
    notes=("one", "two"),
)
RECORDS = [
    FACTS,
    LoadSpec("/m", lora=(Adapter("/a", 0.5),), options={"cpus": [1, 2], "n": None}),
    LoadSpec("/m", 4096, 2, sampling=Sampling(seed=3)),
    Sampling(temperature=0.0, seed=2**40),
    Limits(10, ("a", "\n\n")),
    RunStats(1, 2, 3, 4, 5.5, 6.0, "length", 7),
    StateInfo(1, 2, 3.5),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_records_travel(record):
    [frame] = FrameReader().feed(encode({"it": record}))
    assert frame.record(type(record), "it") == record


@given(st.sampled_from(RECORDS), values, st.integers(0, 20))
def test_a_damaged_record_is_a_record_or_a_frame_error(record, value, index):
    data = json.loads(encode({"it": record}))["it"]
    data[list(data)[index % len(data)]] = value
    with suppress(FrameError):
        assert isinstance(Frame({"it": data}).record(type(record), "it"), type(record))


@pytest.mark.parametrize(
    ("header", "payload"),
    [({}, b""), ({"kind": None}, b""), ({"kind": "x"}, b""), ({"kind": "tokens"}, b"abc")],
)
def test_a_bad_prompt_is_a_frame_error(header, payload):
    with pytest.raises(FrameError):
        Frame(header, payload).prompt()


MEDIA = (Media.of_npy("image", b"a picture"), Media.of_npy("audio", b""))


def with_sizes(*sizes, payload=b"text"):
    listed = [{"kind": kind, "bytes": size} for kind, size in sizes]
    header = {"kind": "text", "media": {"sizes": listed}}
    [frame] = FrameReader().feed(encode(header, payload))
    return frame


def test_a_prompt_travels_with_its_images_and_sounds():
    payload = b"".join([b"text", *(one.npy for one in MEDIA)])
    prompt = with_sizes(("image", 9), ("audio", 0), payload=payload).prompt_with_media()
    assert (prompt.data, prompt.media) == (b"text", MEDIA)
    assert with_sizes().prompt_with_media() == Prompt.of_text("text")


@pytest.mark.parametrize(
    "sizes", [[("image", 5)], [("image", -1)], [("video", 1)], [("image", True)], [(None, 1)]]
)
def test_bad_sizes_are_a_frame_error(sizes):
    with pytest.raises(FrameError):
        with_sizes(*sizes).prompt_with_media()
