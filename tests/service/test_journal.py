"""What is written where, with real streams."""

import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

from rkllmd.service.journal import is_journal, set_level, set_up

OURS = logging.getLogger("rkllmd.watch")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root, package = logging.getLogger(), logging.getLogger("rkllmd")
    handlers, levels = root.handlers[:], (root.level, package.level)
    root.handlers.clear()
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    package.setLevel(levels[1])


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[TextIO]:
    with (tmp_path / "log").open("w+", encoding="utf-8", errors="backslashreplace") as file:
        yield file


def journal_of(stream: TextIO) -> dict[str, str]:
    found = os.fstat(stream.fileno())
    return {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}


def written(stream: TextIO) -> list[str]:
    stream.seek(0)
    return stream.read().splitlines()


def test_the_journal_gets_a_priority_on_every_line_and_no_time(stream: TextIO) -> None:
    set_up(stream, journal_of(stream), "debug")
    OURS.debug("small")
    OURS.info("one\ntwo")
    OURS.warning("%s %d", "three", 4)
    try:
        int("bad\nly")
    except ValueError:
        OURS.exception("failed")
    OURS.critical("end")
    lines = written(stream)
    assert lines[:4] == [
        "<7>rkllmd.watch: small",
        "<6>rkllmd.watch: one",
        "<6>two",
        "<4>rkllmd.watch: three 4",
    ]
    assert lines[4] == "<3>rkllmd.watch: failed"
    assert lines[5] == "<3>Traceback (most recent call last):"
    assert all(line.startswith("<3>") for line in lines[4:-1])
    assert lines[-2:] == [
        "<3>ValueError: invalid literal for int() with base 10: 'bad\\nly'",
        "<2>rkllmd.watch: end",
    ]


def test_others_get_time_and_level(stream: TextIO) -> None:
    set_up(stream, {"JOURNAL_STREAM": "1:2"}, "info")
    OURS.warning("here")
    (line,) = written(stream)
    time, rest = line.split(" ", 1)
    assert [len(part) for part in time.split(":")] == [2, 2, 2]
    assert rest == "WARNING rkllmd.watch: here"


def test_control_characters_are_shown_not_obeyed(stream: TextIO) -> None:
    set_up(stream, journal_of(stream), "info")
    OURS.info("a\x1b[2Jb\rc\td\x9b\x00 \ud800 \N{LINE SEPARATOR}")
    assert written(stream)[0].startswith(r"<6>rkllmd.watch: a\x1b[2Jb\x0dc" + "\t" + r"d\x9b\x00")


def test_the_level_is_ours_and_others_only_warn(stream: TextIO) -> None:
    set_up(stream, journal_of(stream), "info")
    set_up(stream, journal_of(stream), "warning")
    OURS.info("not yet")
    set_level("debug")
    OURS.debug("now")
    logging.getLogger("watchdog").debug("never")
    logging.getLogger("asyncio").info("never")
    logging.getLogger("asyncio").warning("slow")
    assert written(stream) == ["<7>rkllmd.watch: now", "<4>asyncio: slow"]


def test_a_stream_without_descriptor_or_connection_is_not_the_journal(stream: TextIO) -> None:
    environ = journal_of(stream)
    assert is_journal(stream, environ)
    assert not is_journal(stream, {})
    assert not is_journal(io.StringIO(), environ)
    with Path(os.devnull).open("w", encoding="utf-8") as closed:
        assert not is_journal(closed, environ)
    assert not is_journal(closed, environ)
