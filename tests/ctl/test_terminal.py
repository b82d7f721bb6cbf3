"""rkllmctl on a terminal: colours, progress, line editing, and Ctrl-C as it is typed."""

import re

import pytest

from tests.ctl.terminal import Terminal


@pytest.fixture
def on_terminal(ctl):
    opened = []

    def start(*arguments, columns=100, **environment):
        command = [*ctl.command, *arguments]
        environment = {**ctl.environment, "TERM": "xterm-256color", **environment}
        opened.append(Terminal(command, environment, columns))
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
