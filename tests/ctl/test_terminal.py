"""rkllmctl on a terminal: colours, progress, line editing, and Ctrl-C as it is typed."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import pytest

from tests.daemon.household import PATIENCE_SECONDS


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, ctl, *arguments, columns=100, **environment):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            [*ctl.command, *arguments], stdin=slave, stdout=slave, stderr=slave,
            env={**ctl.environment, "TERM": "xterm-256color", **environment},
            preexec_fn=lambda: _own(slave),  # noqa: PLW1509  # there is one thread
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def type(self, text):
        os.write(self.master, text.encode())

    def until(self, word):
        """Read until something is on the screen; what came since the last time."""
        end, start = time.monotonic() + PATIENCE_SECONDS, len(self.seen)
        while word not in self.seen[start:]:
            ready, _, _ = select.select([self.master], [], [], end - time.monotonic())
            assert ready, f"{word!r} did not come:\n{self.seen}"
            self.seen += os.read(self.master, 65536).decode(errors="replace")
        return self.seen[start:]

    def end(self):
        """The exit status, when it has ended; what was left on the screen is read."""
        try:
            while data := os.read(self.master, 65536):
                self.seen += data.decode(errors="replace")
        except OSError:
            pass  # nobody has the terminal any more
        return self.process.wait(PATIENCE_SECONDS)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def _own(slave):
    """Be the terminal's only session, so that what is typed becomes signals."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


@pytest.fixture
def on_terminal(ctl):
    opened = []

    def start(*arguments, **more):
        opened.append(Terminal(ctl, *arguments, **more))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_status_has_colours(on_terminal):
    terminal = on_terminal("status")
    assert terminal.end() == 0
    assert "\x1b[32m" in terminal.seen, "nothing is green"
    assert "parrot/system" in terminal.seen


@pytest.mark.parametrize("columns", [20, 60, 300])
def test_names_and_states_are_whole_on_any_terminal(columns, on_terminal):
    terminal = on_terminal("cache", "list", columns=columns)
    assert terminal.end() == 0
    first, second = re.sub(r"\x1b\[[0-9;]*m", "", terminal.seen).splitlines()
    assert first.split()[:3] == ["MODEL", "CACHE", "STATE"]
    assert second.split()[:3] == ["parrot", "system", "verified"]


def test_a_terminal_without_colours_is_a_terminal(on_terminal, running):
    running.greedy("hello \x1b]0;owned\x07", session="colourless")
    show = ["session", "show", "colourless"]
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        for words in (["status"], ["doctor"], show):
            terminal = on_terminal(*words, **environment)
            assert terminal.end() == 0
            assert "\x1b" not in terminal.seen
    terminal = on_terminal("top", "--count", "1", NO_COLOR="1")
    assert terminal.end() == 0
    assert terminal.seen.startswith("\x1b[H\x1b[J"), "it is still one place"


def test_a_chat_with_ctrl_c_history_and_ctrl_d(on_terminal, running):
    terminal = on_terminal("chat")
    terminal.until("> ")
    terminal.type("go on and on\n")
    running.until(lambda: running.ask("status")["queue"]["parrot"]["running"], "an answer")
    terminal.type("\x03")
    terminal.until("> ")
    running.until(
        lambda: running.ask("status")["queue"]["parrot"] == {"running": False, "waiting": 0},
        "a free worker",
    )
    terminal.type("\x1b[A")  # what was typed before
    terminal.until("go on and on")
    terminal.type("\x15/stats\n")
    terminal.until("> ")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.seen
    history = running.folder / "state" / "rkllmd" / "chat_history"
    assert "go on and on" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_progress_is_shown_while_a_cold_prompt_is_computed(on_terminal):
    terminal = on_terminal("ask", "word " * 200, "--system", "You are brief.", "--max-tokens", "3")
    assert terminal.end() == 0
    assert "prefill [" in terminal.seen


@pytest.mark.parametrize("command", [["watch"], ["top"], ["bench", "--runs", "100"]])
def test_ctrl_c_ends_every_long_command_without_a_traceback(command, on_terminal, running):
    terminal = on_terminal(*command)
    terminal.until(" 1 %" if command[0] == "bench" else "ready")
    terminal.type("\x03")
    assert terminal.end() == 130
    assert "Traceback" not in terminal.seen
    running.until(
        lambda: running.ask("status")["queue"]["parrot"] == {"running": False, "waiting": 0},
        "a free worker",
    )
