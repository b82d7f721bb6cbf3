"""However the bytes are cut, the same lines come out."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from rkllmd.protocol.framing import FramingProblem, LineReader

LINE_BYTES_MAX = 32
TOO_LONG = FramingProblem.LINE_TOO_LONG

streams = st.lists(st.sampled_from([b"\n", b"\r", b" ", b"a", b'{"x":1}', b"\xff\0"]), max_size=60)


def lines_of(pieces):
    reader = LineReader(LINE_BYTES_MAX)
    return [line for piece in pieces for line in reader.feed(piece)] + reader.finish()


@given(streams.map(b"".join), st.data())
def test_any_split_gives_the_same_lines(stream, data):
    cuts = data.draw(st.lists(st.integers(0, len(stream))).map(sorted))
    pieces = [stream[a:b] for a, b in itertools.pairwise([0, *cuts, len(stream)])]
    assert lines_of(pieces) == lines_of([stream]) == naive(stream)


def naive(stream):
    found = []
    for line in stream.split(b"\n"):
        if len(line) > LINE_BYTES_MAX:
            return [*found, TOO_LONG]
        if line.strip(b" \t\r"):
            found.append(line.rstrip(b"\r"))
    return found


def test_the_bound_is_taken_and_one_more_is_not():
    assert lines_of([b"a" * 32 + b"\n"]) == [b"a" * 32]
    assert lines_of([b"a" * 33 + b"\n"]) == [TOO_LONG]


def test_nothing_is_taken_after_a_line_that_is_too_long():
    reader = LineReader(4)
    assert reader.feed(b"ok\n12345") == [b"ok", TOO_LONG]
    assert reader.feed(b"6\nok\n") == []
    assert reader.finish() == []
    assert len(reader._rest) == 0


def test_a_line_of_four_megabytes_in_single_bytes():
    reader = LineReader(4_194_304)
    for _ in range(4_194_304 // 64):
        assert reader.feed(b"x" * 63) == []
        assert reader.feed(b"y") == []
    assert [len(line) for line in reader.feed(b"\n")] == [4_194_304]
