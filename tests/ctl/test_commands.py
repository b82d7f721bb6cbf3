"""Every command on a running daemon, as people and as scripts see it."""

import json
import os
import signal
import socket
import subprocess
from argparse import Namespace
from contextlib import contextmanager

import pytest

from rkllmd.cli.ctl.command import Context
from rkllmd.cli.ctl.program import _function, parser
from rkllmd.cli.ctl.screen import Screen
from rkllmd.cli.ctl.status import wait
from rkllmd.cli.ctl.table import COMMANDS, GROUPS
from rkllmd.client import Client
from rkllmd.errors import StateError
from tests.daemon.household import PATIENCE_SECONDS, SYSTEM


def test_status(ctl):
    text = ctl.run("status")
    assert text.splitlines()[0].startswith("rkllmd ")
    assert ": ready, up " in text.splitlines()[0]
    assert "parrot/system" in text
    assert "verified" in text
    found = ctl.json("status")
    assert found["state"] == "ready"
    assert ctl.json("--json", "status")["ready"] is True


def test_wait(ctl):
    assert ctl.run("wait", "--timeout", "60") == ""
    assert ctl.json("wait") == {"state": "ready"}


def test_ask(ctl):
    options = ("--temperature", "0", "--max-tokens", "6", "--session", "asked")
    answer = ctl.run("ask", "hello", *options)
    done = ctl.json("ask", *options, text="hello again")
    assert answer.strip("\n")
    assert done["event"] == "done"
    assert done["usage"]["completion_tokens"] <= 6
    assert "user: hello" in ctl.run("session", "show", "asked")
    pirate = ctl.json("ask", "hi", "--system", "Arr.", "--max-tokens", "2")
    assert pirate["usage"]["cached_prompts"] == []
    warned = ctl.json("ask", "hi", "--cache", "nothere", "--max-tokens", "2")
    assert any("nothere" in warning for warning in warned["warnings"])


def test_chat_from_a_pipe(ctl):
    said = ctl.run(
        "chat", "--session", "piped",
        text="hello\n/stats\n/system You are short.\nhow are you?\n/reset\n/nonsense\n",
    )  # fmt: skip
    assert "prompt tokens from the cache (system)" in said
    assert "begun anew with this" in said
    assert "/reset          begin anew" in said
    assert "piped" not in {one["session"] for one in ctl.json("session", "list")["sessions"]}
    assert ctl.json("chat", text="hello\n")["event"] == "done"


def test_models(ctl):
    assert ctl.run("model", "list").splitlines()[1].split()[:2] == ["parrot", "ready"]
    assert ctl.json("model", "list")["models"][0]["name"] == "parrot"
    shown = ctl.run("model", "show", "parrot")
    assert ["state", "ready"] in [line.split() for line in shown.splitlines()]
    assert ctl.json("model", "show", "parrot")["models"][0]["state"] == "ready"
    assert ctl.run("model", "load", "parrot") == "parrot: ready\n"
    assert ctl.json("model", "load", "parrot")["model"]["state"] == "ready"
    assert "answers: the same" in ctl.run("model", "verify", "parrot")
    verified = ctl.json("model", "verify", "parrot")
    assert verified["same_answer"] is True
    assert verified["verified"] == ["parrot/system"]
    assert ctl.run("model", "show", "nothere", status=3).startswith("rkllmctl: ")


def test_unloading(household, ctl_of):
    ctl = ctl_of(household.start())
    assert ctl.run("model", "unload", "parrot") == "parrot: unloaded\n"
    assert ctl.json("model", "unload", "parrot")["model"]["state"] == "unloaded"


def test_caches(household, ctl_of):
    ctl = ctl_of(household.start())
    listed = ctl.run("cache", "list", "parrot").splitlines()
    assert listed[0].split()[:3] == ["MODEL", "CACHE", "STATE"]
    assert listed[1].split()[:4] == ["parrot", "system", "verified", "declared"]
    assert SYSTEM.strip() in ctl.run("cache", "show", "parrot", "system")
    assert ctl.json("cache", "show", "parrot", "system")["caches"][0]["content"] == SYSTEM
    file = household.folder / "pirate.txt"
    file.write_text("You are a pirate. " + SYSTEM)
    created = ctl.run("cache", "create", "parrot", "pirate", str(file))
    assert created.startswith("parrot/pirate: verified")
    again = ctl.json("cache", "create", "parrot", "pirate", text="Arr.", status=2)
    assert again["code"] == "cache_exists"
    replaced = ctl.json("cache", "create", "parrot", "pirate", "--overwrite", text="Arr, arr.")
    assert replaced["cache"]["content"] == "Arr, arr."
    assert "good as it is: pirate" in ctl.run("cache", "build", "parrot")
    assert ctl.json("cache", "build", "parrot", "pirate", "--force")["built"] == ["pirate"]
    assert ctl.run("cache", "verify", "parrot", "pirate") == "verified: parrot/pirate\n"
    assert len(ctl.json("cache", "verify")["verified"]) == 2
    assert ctl.run("cache", "delete", "parrot", "pirate") == "deleted\n"
    assert ctl.json("cache", "delete", "parrot", "system")["rebuilt"] is True
    assert ctl.json("cache", "show", "parrot", "pirate", status=3)["code"] == "unknown_cache"
    assert "cannot read" in ctl.run("cache", "create", "parrot", "x", "/nowhere", status=2)


def test_sessions(ctl, running):
    running.greedy("hello", session="table")
    assert "table" in ctl.run("session", "list")
    assert "table" in {one["session"] for one in ctl.json("session", "list")["sessions"]}
    assert ctl.run("session", "show", "table").startswith("user: hello\nassistant: ")
    assert ctl.json("session", "show", "table")["messages"][0]["content"] == "hello"
    assert ctl.run("session", "reset", "table") == "forgotten: table\n"
    assert ctl.json("session", "show", "table", status=3)["code"] == "unknown_session"
    for one in ctl.json("session", "list")["sessions"]:
        ctl.run("session", "reset", one["session"])
    assert ctl.run("session", "list") == "none\n"


def test_what_a_model_says_cannot_steer_a_terminal(ctl, running):
    evil = "\x1b]0;owned\x07\x9b31m"
    running.greedy(f"hello {evil}", session="evil")
    assert "\x1b" not in ctl.run("session", "show", "evil")
    shown = ctl.run("session", "show", "evil", "--json")
    assert not {"\x1b", "\x9b"} & {*shown}
    assert evil in json.loads(shown)["messages"][0]["content"]


def test_json_is_json_in_every_encoding(ctl, running):
    running.greedy("grün 🦜", session="wide")
    ctl.environment["PYTHONIOENCODING"] = "latin-1"
    shown = ctl.json("session", "show", "wide")["messages"][0]["content"]
    assert shown == "grün 🦜"


def test_a_chat_for_scripts_tells_errors_as_json(ctl):
    said = ctl.run("chat", "--model", "owl", "--json", text="hello\n")
    assert json.loads(said)["code"] == "unknown_model"


def test_reload_and_configuration(household, ctl_of):
    ctl = ctl_of(household.start())
    file = household.folder / "rkllmd.yaml"
    assert ctl.run("config", "check") == f"{file}: good\n"
    assert ctl.json("config", "check")["ok"] is True
    assert "level: info" in ctl.run("config", "show")
    assert ctl.json("config", "show")["settings"]["log"]["level"] == "info"
    file.write_text(file.read_text() + "log: {level: debug}\nsocket: {requests_max: 7}\n")
    said = ctl.run("reload")
    assert "changed: log.level" in said
    assert "waits for `systemctl restart rkllmd`: socket.requests_max" in said
    assert ctl.json("reload")["event"] == "ok"
    assert ctl.json("log-level")["level"] == "debug"
    assert ctl.run("log-level", "warning") == "warning\n"
    assert ctl.run("log-level") == "warning\n"
    file.write_text("models: {default: qven}\n")
    assert "models.default: there is no model 'qven'" in ctl.run("config", "check")
    assert len(ctl.json("config", "check")["warnings"]) == 1
    file.write_text("nonsense: 1\n")
    assert "nonsense" in ctl.run("config", "check", status=2)
    assert ctl.json("config", "check", status=2)["ok"] is False
    assert ctl.json("reload", status=2)["code"] == "bad_request"


def test_watch_tells_what_happens_until_it_is_interrupted(household, ctl_of):
    ctl = ctl_of(household.start())
    with ctl.start("watch") as people, ctl.start("watch", "cache", "--json") as script:
        assert "state: ready" in people.stdout.readline()
        household.write_prompt("pirate", "You are a pirate.")
        while "cache parrot/pirate: " not in (line := people.stdout.readline()):
            assert line, people.stderr.read()
        event = json.loads(script.stdout.readline())
        assert (event["kind"], event["data"]["name"]) == ("cache", "pirate")
        for process in (people, script):
            process.send_signal(signal.SIGINT)
            assert process.wait() == 130
            assert "Traceback" not in process.stderr.read()


def test_call(ctl):
    assert ctl.json("call", "ping")["event"] == "ok"
    assert ctl.json("call", "help", "about=chat")["schema"]["properties"]["op"] == {"const": "chat"}
    assert ctl.run("call", "nonsense", status=2).startswith("rkllmctl: ")
    assert ctl.run("call", "help", "op=chat", status=2).startswith("rkllmctl: op: found")
    assert ctl.run("call", "ping", "id=1", status=2).startswith("rkllmctl: id: found")
    assert ctl.json("call", "ping", "self=1")["event"] == "ok", "unknown members are ignored"


def test_without_a_daemon_there_is_one_clear_line(household, ctl_of):
    ctl = ctl_of(household)
    said = ctl.run("status", status=7)
    assert said.splitlines()[0].startswith("rkllmctl: cannot reach the daemon at ")
    assert ctl.json("status", status=7)["code"] == "no_daemon"
    assert ctl.run("wait", "--timeout", "0", status=7)


def test_a_daemon_that_does_not_become_ready_is_waited_for_no_longer_than_was_said(tmp_path):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server, Client(path) as client:
        server.bind(str(path))
        server.listen()
        assert client.daemon_pid() == os.getpid()
        connection, _ = server.accept()
        with connection:
            # Said in advance, so that nothing here has to be quick.
            state = {"id": 1, "event": "event", "kind": "state", "data": {"state": "starting"}}
            connection.sendall(json.dumps(state).encode() + b"\n")
            context = Context(client, Namespace(timeout=0), Screen(as_json=False))
            with pytest.raises(StateError, match="the daemon is starting, not ready, after 0 s"):
                wait(context)


@contextmanager
def impostor(household):
    """Something else that listens where the daemon should."""
    household.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(household.socket))
        server.listen()
        yield server


def test_a_daemon_that_is_restarted_is_waited_for(ctl_of, household):
    with impostor(household) as server, ctl_of(household).start("wait") as process:
        for event in (
            {"event": "error", "code": "shutting_down"},
            {"event": "event", "kind": "state", "data": {"state": "ready"}},
        ):
            connection, _ = server.accept()
            with connection, connection.makefile("rw") as lines:
                asked = json.loads(lines.readline())
                said = {"id": asked["id"], "final": event["event"] == "error", **event}
                lines.write(json.dumps(said) + "\n")
                lines.flush()
        assert process.wait(PATIENCE_SECONDS) == 0


def typed(ctl, line):
    """A shell's line; its exit status and errors."""
    words = " ".join(ctl.command)
    done = subprocess.run(
        line.replace("rkllmctl", words), shell=True, env=ctl.environment, text=True, check=False,
        capture_output=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("rkllmctl status >&-", 0, ""),
        ("rkllmctl status --json 2>&-", 0, ""),
        ("rkllmctl status >/dev/full", 6, "cannot write: No space left"),
        ("rkllmctl status --json >/dev/full", 6, "cannot write: No space left"),
        ("rkllmctl top --interval 0 | head -1", 0, ""),
        ("rkllmctl chat <&-", 0, ""),
        ("rkllmctl ask <&-", 2, "text: found nothing"),
        ("printf '\\377' | rkllmctl ask", 2, "cannot read standard input: it is no UTF-8"),
        ("rkllmctl ask \"$(printf '\\377')\"", 2, "found a text that is no UTF-8"),
        ("printf '\\377\\n' | PYTHONIOENCODING=utf8:strict rkllmctl chat", 0, "no UTF-8"),
        ("PYTHONIOENCODING=ascii rkllmctl doctor --root /nowhere", 1, ""),
    ],
)  # fmt: skip
def test_streams_that_are_closed_full_or_strange(line, status, said, ctl):
    found = typed(ctl, line)
    assert found[0] == status, found
    assert said in found[1]


@pytest.mark.parametrize(
    "words",
    [
        "modle list", "model", "top --interval -1", "top --count x", "bench --runs 0",
        "bench --plot x.png", "wait --timeout nan", "ask --temperature 6 hi",
        "ask --max-tokens 0 hi",
    ],
)  # fmt: skip
def test_what_cannot_be_typed_is_told_to_people_and_to_scripts(words, ctl):
    said = ctl.run(*words.split(), status=2)
    assert said.startswith("rkllmctl: ")
    assert "--help` says what can be typed." in said
    assert ctl.json(*words.split(), status=2)["code"] == "bad_request"


def test_a_daemon_that_goes_away_in_the_middle_gives_one_clear_line(household, ctl_of):
    ctl = ctl_of(household.start())
    with ctl.start("ask", "go", "--max-tokens", "1500") as process:
        assert process.stdout.read(1)
        household.stop(signal.SIGKILL)
        assert process.wait() == 7
        errors = process.stderr.read()
    assert errors.splitlines()[0].startswith("rkllmctl: the daemon has left")
    assert "Traceback" not in errors


def idle(home):
    return home.ask("status")["queue"]["parrot"] == {"running": False, "waiting": 0}


def test_ctrl_c_in_ask_leaves_no_running_generation(ctl, running):
    with ctl.start("ask", "go", "--max-tokens", "1500") as process:
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert "Traceback" not in process.stderr.read()
    running.until(lambda: idle(running), "a free worker")


def test_ctrl_c_in_chat_ends_the_answer_and_not_the_chat(ctl, running):
    with ctl.start("chat") as process:
        process.stdin.write("go on and on\n")
        process.stdin.flush()
        running.until(lambda: not idle(running), "an answer")
        process.stdout.read(4)
        process.send_signal(signal.SIGINT)
        running.until(lambda: idle(running), "a free worker")
        rest, errors = process.communicate("/stats\n", timeout=30)
        assert "no answer yet" in rest
        assert "Traceback" not in errors
        assert process.returncode == 0


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.words)
def test_help_is_one_screen_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as left:
        parser().parse_args([*command.words.split(), "--help"])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) <= 24
    assert f"Example: rkllmctl {command.words}" in " ".join(said.split())


def test_the_groups_name_their_commands():
    for group, purpose in GROUPS.items():
        for command in COMMANDS:
            if command.words.startswith(f"{group} "):
                assert command.words.split()[1] in purpose


def test_a_socket_that_is_no_daemon_is_told(household, ctl_of):
    with impostor(household) as server, ctl_of(household).start("status") as process:
        connection, _ = server.accept()
        connection.sendall(b"HTTP/1.1 400 no\n")
        connection.close()
        assert process.wait() == 7
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.words)
def test_every_command_has_a_function_and_takes_json(command):
    assert callable(_function(command))
    arguments = ["x" for one in command.arguments if needs_value(one)]
    if not any(one.more.get("choices") for one in command.arguments if needs_value(one)):
        assert parser().parse_args([*command.words.split(), *arguments, "--json"]).json is True


def needs_value(one):
    return not one.names[0].startswith("-") and one.more.get("nargs") not in {"?", "*"}


def test_a_status_for_scripts_loads_nothing_that_is_slow(ctl):
    code = (
        "import sys; from rkllmd.cli.ctl.program import main; main(['status', '--json']);"
        "print(*sys.modules)"
    )
    command = [ctl.command[0], "-c", code]
    done = subprocess.run(
        command, env=ctl.environment, capture_output=True, text=True, check=True, timeout=30
    )
    loaded = set(done.stdout.splitlines()[-1].split())
    heavy = {"asyncio", "rich", "yaml", "numpy", "ctypes", "jinja2", "rkllmd.protocol.messages"}
    assert loaded & heavy == set()
