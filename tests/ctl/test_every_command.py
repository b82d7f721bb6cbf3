"""What every command keeps to: for people and for scripts, interrupted, and left by the daemon."""

import contextlib
import io
import json
import signal
import socket
import threading

import pytest

from rkllmd.cli.ctl.program import main
from rkllmd.cli.ctl.table import COMMANDS
from tests.ctl.conftest import Ctl
from tests.daemon.household import PATIENCE_SECONDS, Household

# What to type behind each command; {own} is a name for this run alone.
TYPED = {
    "status": "", "wait": "--timeout 60", "ask": "hello --max-tokens 2", "chat": "",
    "model list": "", "model show": "parrot", "model load": "parrot", "model unload": "parrot",
    "model verify": "parrot", "cache list": "", "cache show": "parrot system",
    "cache create": "parrot {own} {folder}/prompt.txt", "cache build": "parrot",
    "cache verify": "parrot system", "cache export": "parrot system {folder}/{own}",
    "cache import": "{home}/exported", "cache delete": "parrot {own}", "session list": "",
    "session show": "{own}", "session reset": "{own}", "watch": "state", "top": "--count 1",
    "bench": "--runs 1", "reload": "", "config show": "", "config check": "", "log-level": "",
    "doctor": "", "call": "ping", "completion": "bash",
}  # fmt: skip
WITHOUT_DAEMON = {"config show", "config check", "cache export", "completion"}
ELSEWHERE = {
    "watch",
    "model verify",
    "cache create",
    "cache build",
    "cache verify",
    "cache import",
    "cache delete",
}
"""These do not end, or build caches: test_commands.py and test_carry.py try them both ways."""
TALKING = [words for words in TYPED if words not in WITHOUT_DAEMON]


@pytest.fixture(scope="module")
def running(tmp_path_factory, parrot):
    """A daemon whose prompt is short: caches are built and proved here again and again."""
    home = Household(tmp_path_factory.mktemp("home"), parrot)
    home.write_prompt("system", "You are brief.")
    Ctl(home.start()).run("cache", "export", "parrot", "system", str(home.folder / "exported"))
    yield home
    home.close()


@pytest.fixture
def type_in(running, tmp_path, monkeypatch):
    """Runs a command in this process; its exit status."""
    monkeypatch.setenv("RKLLMD_CONFIG", str(running.folder / "rkllmd.yaml"))
    (tmp_path / "prompt.txt").write_text("You are brief and kind.")

    def run(words, *options, own="own", at=running.socket):
        monkeypatch.setattr("sys.stdin", io.StringIO("hello\n"))
        typed = TYPED[words].format(own=own, folder=tmp_path, home=running.folder).split()
        return main(["--socket", str(at), *words.split(), *typed, *options])

    return run


def test_no_command_is_forgotten():
    assert TYPED.keys() == {command.words for command in COMMANDS}


def test_every_command_speaks_to_people_and_to_scripts(type_in, running, capsys):
    for own, options in (("people", []), ("scripts", ["--json"])):
        running.greedy("hello", session=own)
        for words in (words for words in TYPED if words not in ELSEWHERE):
            assert type_in(words, *options, own=own) == 0, (words, capsys.readouterr())
            said = capsys.readouterr().out
            if options:
                assert [json.loads(line) for line in said.splitlines()], words
            elif words not in {"wait", "call"}:
                assert said.strip(), words
                assert not said.startswith(("{", "[")), words


class Relay:
    """A socket before the daemon's: it holds the first request until `on_asked` has returned.

    Where that returns False the connection is closed, as by a daemon that dies.
    """

    def __init__(self, path, daemon, on_asked):
        self.path, self._daemon, self._on_asked = path, daemon, on_asked
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.settimeout(PATIENCE_SECONDS)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join()
        self._listener.close()

    def _serve(self):
        connection, _ = self._listener.accept()
        with connection:
            first = connection.recv(65536)
            if not self._on_asked():
                return
            with socket.socket(socket.AF_UNIX) as daemon:
                daemon.connect(str(self._daemon))
                daemon.sendall(first)
                back = threading.Thread(target=self._pass_on, args=(daemon, connection))
                back.start()
                self._pass_on(connection, daemon)
                # rkllmctl never ends its side alone: it has gone, so the daemon is to see that.
                daemon.shutdown(socket.SHUT_RDWR)
                back.join()

    @staticmethod
    def _pass_on(source, target):
        with contextlib.suppress(OSError):  # one of them has left
            while data := source.recv(65536):
                target.sendall(data)


def interrupt():
    """What Ctrl-C does to a program."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    return True


@pytest.mark.parametrize("words", TALKING)
def test_ctrl_c_leaves_no_running_generation(words, type_in, running, tmp_path, capsys):
    with Relay(tmp_path / "relay", running.socket, interrupt) as relay:
        # In a chat it ends the answer, and the chat ends with what is typed.
        assert type_in(words, at=relay.path) == (0 if words == "chat" else 130)
    assert "Traceback" not in capsys.readouterr().err
    idle = {"running": False, "waiting": 0}
    running.until(
        lambda: all(one == idle for one in running.ask("status")["queue"].values()), "a free worker"
    )


@pytest.mark.parametrize("words", TALKING)
def test_a_daemon_that_goes_away_is_told_in_one_line(words, type_in, running, tmp_path, capsys):
    capsys.readouterr()
    options = ["--timeout", "0"] if words == "wait" else []
    with Relay(tmp_path / "relay", running.socket, lambda: False) as relay:
        status = type_in(words, *options, at=relay.path)
    said = capsys.readouterr()
    if words == "doctor":  # for whom this is a finding
        assert status == 1
        assert said.out.count("the daemon has left") == 1
    else:
        assert status == 7
        assert said.err.startswith("rkllmctl: the daemon has left")
        assert len(said.err.splitlines()) == 2, "the line, and what to do next"
