"""What systemd hears, on a real notification socket, and what it hands over."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rkllmd.service.systemd import Notifier, inherited_sockets, watchdog_interval

ME = 4711


class Systemd:
    """The other end of the notification socket; it remembers."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.socket.settimeout(0)

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(65_536).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def systemd(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Systemd]:
    name = f"{tmp_path}/notify"
    abstract = request.param == "abstract"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
    listener = Systemd(f"\0{name}" if abstract else name)
    yield listener
    listener.socket.close()


def test_a_life_is_heard_in_order(systemd: Systemd) -> None:
    before = time.monotonic_ns() // 1000
    notifier = Notifier()
    notifier.status("building qwen/system: 12 %")
    notifier.extend_timeout(30.5)
    notifier.ready("2 models")
    notifier.watchdog()
    notifier.reloading()
    notifier.ready("2 models")
    notifier.stopping()
    notifier.close()
    notifier.close()
    notifier.status("nobody hears this")
    heard = systemd.heard()
    reloading, monotonic = heard.pop(4).split("\nMONOTONIC_USEC=")
    assert heard == [
        "STATUS=building qwen/system: 12 %",
        "EXTEND_TIMEOUT_USEC=30500000",
        "READY=1\nSTATUS=2 models",
        "WATCHDOG=1",
        "READY=1\nSTATUS=2 models",
        "STOPPING=1",
    ]
    assert reloading == "RELOADING=1"
    assert before <= int(monotonic) <= time.monotonic_ns() // 1000


def test_a_status_is_one_line_of_utf_8_whatever_it_says(systemd: Systemd) -> None:
    notifier = Notifier()
    notifier.status("größer → 好\nREADY=1\r\n \ud800")
    notifier.close()
    assert systemd.heard() == ["STATUS=größer → 好 READY=1 ?"]


def test_a_systemd_that_does_not_read_is_not_waited_for(
    systemd: Systemd, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier()
    while not caplog.records:
        notifier.watchdog()
    assert caplog.messages[0].startswith("systemd was not told WATCHDOG=1")
    systemd.heard()
    notifier.ready("now there is room again")
    notifier.close()
    assert systemd.heard() == ["READY=1\nSTATUS=now there is room again"]


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notifier = Notifier()
    notifier.ready("hello")
    notifier.close()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # sdnotify forgets its socket
@pytest.mark.parametrize("name", ["/nowhere/notify", ""])
def test_a_socket_that_is_not_there_is_told_once(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notifier = Notifier()
    notifier.ready("hello")
    notifier.close()
    assert len(caplog.records) == 1


ACTIVATED = """
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
from rkllmd.service.systemd import inherited_sockets
found = inherited_sockets(os.environ, os.getpid())
left = [name for name in os.environ if name.startswith("LISTEN_")]
print(found, [os.get_inheritable(fd) for fds in found.values() for fd in fds], left)
"""


@pytest.mark.parametrize(
    ("count", "names", "found"),
    [
        ("3", "lines:http:http", "{'lines': [3], 'http': [4, 5]} [False, False, False] []"),
        ("2", "lines", "{'lines': [3], 'unknown': [4]} [False, False] []"),
        ("1", None, "{'unknown': [3]} [False] []"),
        ("0", "lines", "{} [] []"),
        ("-1", "lines", "{} [] []"),
        ("many", "lines", "{} [] []"),
        ("999999999999", "a:b:c", "{'a': [3], 'b': [4], 'c': [5]} [False, False, False] []"),
    ],
)
def test_sockets_are_taken_over(count: str, names: str | None, found: str) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    environ = os.environ | {"LISTEN_FDS": count, "LISTEN_PIDFDID": "1"}
    if names is not None:
        environ["LISTEN_FDNAMES"] = names
    # The shell puts them where systemd does.
    numbers = [pair[0].fileno() for pair in pairs]
    moved = " ".join(f"{3 + index}<&{number}" for index, number in enumerate(numbers))
    done = subprocess.run(
        ["bash", "-c", f'exec {moved}; exec "$0" -c "$1"', sys.executable, ACTIVATED],
        env=environ,
        pass_fds=numbers,
        capture_output=True,
        text=True,
        check=True,
    )
    for pair in pairs:
        for end in pair:
            end.close()
    assert done.stdout.strip() == found


def test_sockets_for_another_process_are_left_alone_but_forgotten() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "HOME": "/"}
    assert inherited_sockets(environ, ME) == {}
    assert environ == {"HOME": "/"}
    assert inherited_sockets({}, ME) == {}


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(ME)}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert watchdog_interval(environ, ME) == seconds
    assert environ == {}
