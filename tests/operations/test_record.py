"""The line that the journal has for each request."""

import logging
from types import SimpleNamespace

import pytest

from rkllmd.config.settings import Config, Log
from rkllmd.errors import Code, NotFound
from rkllmd.operations.call import Call, Caller, Connection
from rkllmd.operations.record import recorded
from rkllmd.protocol.messages import Chat, Done, Ping, Prefill, Timing, Usage

DONE = Done(
    text="The light\nis on.",
    reason="stop",
    model="tiny",
    session="kitchen",
    usage=Usage(812, 790, 34, cache_hit=True),
    timing=Timing(0.06, 0.0, 12.0, 41.23, 380.0, 55.0),
)


def line_of(caplog, request, reply, *, content=False, error=None, level=logging.INFO):
    caplog.set_level(level, logger="rkllmd.requests")
    services = SimpleNamespace(config=Config(log=Log(content=content)), now=lambda: 10.5)
    caller = Caller("socket", "uid 1000", pid=42, uid=1000, gid=1000)
    call = Call(Connection(caller), send=None, arrived=10.0)
    try:
        with recorded(services, request, call) as record:
            if error is not None:
                raise error
            record.reply = reply
    except type(error or ()):
        pass
    return [record.getMessage() for record in caplog.records]


def test_an_answer_with_its_tokens_and_times(caplog):
    (line,) = line_of(caplog, Chat(text="Light on, please", session="kitchen"), DONE)
    assert line == (
        "chat uid=1000 pid=42 model=tiny session=kitchen prompt=812 cached=790 generated=34"
        " queue_ms=0.1 first_ms=41.2 total_ms=500.0 outcome=stop"
    )


def test_what_was_said_only_when_it_is_wanted(caplog):
    (line,) = line_of(caplog, Chat(text="Light on, please"), DONE, content=True)
    assert line.endswith('asked="Light on, please" answered="The light\\nis on."')


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(NotFound(Code.UNKNOWN_MODEL, "no"), "unknown_model"), (ZeroDivisionError(), "internal")],
)
def test_a_request_that_fails_says_how(caplog, error, outcome):
    (line,) = line_of(caplog, Chat(text="hello", model="big"), None, error=error)
    assert line == f"chat uid=1000 pid=42 model=big total_ms=500.0 outcome={outcome}"


def test_a_reply_that_is_no_answer(caplog):
    reply = {"prompt_tokens": 5, "cached_tokens": 3, "ms": 1.0}
    (line,) = line_of(caplog, Prefill(text="Light"), reply)
    assert line == "prefill uid=1000 pid=42 prompt=5 cached=3 total_ms=500.0 outcome=ok"


def test_a_session_cannot_forge_a_line_or_a_member(caplog):
    session = "x outcome=stop\nchat uid=0"
    (line,) = line_of(caplog, Prefill(text="Light", session=session), {})
    assert 'session="x outcome=stop\\nchat uid=0"' in line


def test_looking_is_only_told_when_debugging(caplog):
    assert line_of(caplog, Ping(), {}) == []
    assert line_of(caplog, Ping(), {}, level=logging.DEBUG) == [
        "ping uid=1000 pid=42 total_ms=500.0 outcome=ok"
    ]
