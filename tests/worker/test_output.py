"""What a worker prints, in lines."""

from hypothesis import given
from hypothesis import strategies as st

from rkllmd.worker.answer import AnswerText
from rkllmd.worker.output import LINE_BYTES_MAX, LINES_KEPT, OutputLines


def lines_of(parts):
    lines = OutputLines()
    told = [line for part in parts for line in lines.feed(part)]
    return told + list(lines.finish()), lines


@given(st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"\xff", b"\x1b[", b"x" * 1500, b"\0"])))
def test_any_split_gives_the_same_bounded_lines(parts):
    data = b"".join(parts)
    whole, kept = lines_of([data])
    assert lines_of(parts)[0] == whole
    assert lines_of([bytes([byte]) for byte in data])[0] == whole
    assert list(kept.last) == whole[-LINES_KEPT:]
    for line in whole:
        assert len(line) <= LINE_BYTES_MAX + 1
        assert line.isprintable()


def test_a_long_line_is_cut():
    told, _ = lines_of([b"y" * 5000, b"y\nnext\n"])
    assert told == ["y" * LINE_BYTES_MAX + "…", "next"]


@given(st.lists(st.binary(max_size=6)))
def test_an_answers_text_is_that_of_its_bytes(parts):
    answer = AnswerText(())
    text = "".join([answer.feed(part) for part in parts]) + answer.finish()
    assert text == b"".join(parts).decode(errors="replace")
