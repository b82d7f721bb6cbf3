"""The service on a booted machine: starting, failing, stopping, following, who may talk to it."""

import json
import re
import shlex

import pytest

from tests.systemd.conftest import ROOT
from tests.systemd.waiting import until

MODEL = "/usr/share/rkllmd/models/tiny-assistant"
PROMPT = "/etc/rkllmd/config/system.txt"
UNITS = (
    "rkllmd.socket rkllmd-http.socket rkllmd-wyoming.socket rkllmd.service"
    " rkllmd-performance.service"
)
SLOW = "[Service]\nCPUQuota=20%\n"


def properties(machine, *names):
    """What systemd says of the service."""
    shown = machine.run(f"systemctl show rkllmd {' '.join(f'-p {name}' for name in names)}")
    return dict(line.split("=", 1) for line in shown.splitlines())


def main_pid(machine):
    return int(properties(machine, "MainPID")["MainPID"])


def worker_pid(machine):
    pid = main_pid(machine)
    return int(machine.run(f"cat /proc/{pid}/task/{pid}/children"))


def caches(machine):
    """The states of the caches, by their names."""
    listed = json.loads(machine.run("rkllmctl call cache.list"))
    return {f"{one['model']}/{one['name']}": one["state"] for one in listed["caches"]}


def configure(machine, name, text):
    """Add a drop-in to the service, and restart it."""
    folder = "/run/systemd/system/rkllmd.service.d"
    machine.write(f"{folder}/{name}.conf", text)
    machine.run("systemctl daemon-reload && systemctl restart rkllmd")


@pytest.fixture
def plain(board):
    """The machine, whose service is as it was installed again afterwards."""
    yield board
    board.run(
        "rm -rf /run/systemd/system/rkllmd.service.d; systemctl daemon-reload;"
        " systemctl reset-failed; systemctl restart rkllmd"
    )


def test_the_tests_that_come_with_the_package_pass(board):
    """As a distribution runs them: its runner gives them nothing but a system with the package."""
    for line in (ROOT / "debian/tests/control").read_text().splitlines():
        if line.startswith("Tests:"):
            for name in line.removeprefix("Tests:").split():
                board.write("/run/package-test", (ROOT / "debian/tests" / name).read_text())
                board.run(
                    "chmod +x /run/package-test && mount -o remount,exec /run && /run/package-test"
                )


def test_after_the_installation_it_runs(board):
    assert board.run(f"systemctl is-active {UNITS}", check=False).split() == [
        "active", "active", "active", "active", "inactive",
    ]  # fmt: skip
    assert board.run(f"systemctl is-enabled {UNITS}", check=False).split() == [
        "enabled", "enabled", "enabled", "enabled", "disabled",
    ]  # fmt: skip
    assert caches(board) == {"tiny-assistant/system": "verified"}
    assert board.run("rkllmctl ask 'What is your name?'")


def test_the_units_have_nothing_to_be_said_against(board):
    assert board.run(f"systemd-analyze verify --man=no {UNITS}") == ""


ASK = """
import socket, sys
address = eval(sys.argv[1])
with socket.socket(socket.AF_INET if len(address) == 2 else socket.AF_UNIX) as talk:
    talk.connect(address)
    talk.sendall(b"GET /v1/models HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
    print(talk.makefile().read())
"""


@pytest.mark.parametrize("address", [("127.0.0.1", 8080), "/run/rkllmd/http.sock"])
def test_http_is_served_on_the_sockets_of_systemd(board, address):
    said = board.run(f"python3 -c {shlex.quote(ASK)} {shlex.quote(repr(address))}")
    assert said.startswith("HTTP/1.1 200")
    assert "tiny-assistant" in said


def test_without_its_port_everything_else_is_served(plain):
    plain.run("systemctl stop rkllmd rkllmd-wyoming.socket rkllmd-http.socket rkllmd.socket")
    taken = "import socket, time; s = socket.create_server(('127.0.0.1', 8080)); time.sleep(1000)"
    plain.run(f"systemd-run --quiet --unit=taken python3 -c {shlex.quote(taken)}")
    until(lambda: "active" in plain.run("systemctl is-active taken", check=False))
    try:
        plain.run("systemctl start rkllmd")
        assert plain.run("rkllmctl ask 'What is your name?'")
        assert "HTTP over TCP is not served" in plain.run("rkllmctl status")
    finally:
        plain.run("systemctl stop taken rkllmd; systemctl reset-failed; systemctl start rkllmd")


def test_the_service_is_exposed_little(board):
    board.run("systemd-analyze security --threshold=20 rkllmd.service")


def test_start_returns_when_the_cache_is_verified_and_early_clients_are_answered(plain):
    configure(plain, "slow", SLOW)
    plain.run("systemctl stop rkllmd && rm -rf /var/cache/rkllmd/*")
    with plain.start("systemctl start rkllmd") as starting:
        until(lambda: properties(plain, "ActiveState")["ActiveState"] == "activating", 0)
        with plain.start("rkllmctl ask 'What is your name?'") as early:
            seen = set()
            while starting.poll() is None:
                shown = properties(plain, "ActiveState", "StatusText")
                if shown["ActiveState"] == "activating":
                    seen.add(shown["StatusText"])
            assert starting.returncode == 0
            assert caches(plain) == {"tiny-assistant/system": "verified"}
            assert early.communicate(timeout=100)[0].strip()
            assert early.returncode == 0
    assert any(status.startswith("building tiny-assistant/system") for status in seen), seen


CONNECT = """
import select, socket, sys, time
connected = 0
while not select.select([sys.stdin], [], [], 0.002)[0]:
    with socket.socket(socket.AF_UNIX) as talk:
        talk.connect("/run/rkllmd/rkllmd.sock")
    connected += 1
    print(connected, flush=True)
"""
"""Connects again and again until a line comes; one refusal ends it."""


def test_a_killed_daemon_comes_back_and_no_connection_is_refused(board):
    pid, before = main_pid(board), board.run("ls -l --full-time /var/cache/rkllmd/*")
    with board.start(f"exec python3 -c {shlex.quote(CONNECT)}") as connecting:
        connecting.stdout.readline()
        board.run("systemctl kill --kill-whom=main --signal=KILL rkllmd")
        until(lambda: properties(board, "NRestarts")["NRestarts"] == "1")
        board.run("rkllmctl ask 'What is your name?'")
        said, _ = connecting.communicate("enough\n")
    assert connecting.returncode == 0, said
    assert main_pid(board) not in {0, pid}
    until(lambda: caches(board) == {"tiny-assistant/system": "verified"})
    assert board.run("ls -l --full-time /var/cache/rkllmd/*") == before


def test_when_memory_runs_out_the_kernel_takes_the_worker(board):
    scores = [
        int(board.run(f"cat /proc/{pid}/oom_score_adj"))
        for pid in (main_pid(board), worker_pid(board))
    ]
    assert scores[0] <= 0 < scores[1]
    assert properties(board, "OOMPolicy")["OOMPolicy"] == "continue"


def test_a_killed_worker_is_no_end_of_the_service(board):
    shown = properties(board, "MainPID", "NRestarts")
    worker = worker_pid(board)
    board.run(f"kill -KILL {worker}")
    assert board.run("rkllmctl ask 'What is your name?'")
    assert worker_pid(board) != worker
    assert properties(board, "MainPID", "NRestarts") == shown


def test_a_daemon_that_stands_still_is_replaced(plain):
    configure(plain, "watchdog", "[Service]\nWatchdogSec=2\n")
    pid = main_pid(plain)
    plain.run(f"kill -STOP {pid}")
    until(lambda: main_pid(plain) not in {0, pid})
    assert plain.run("rkllmctl ask 'What is your name?'")
    log = plain.run("journalctl -b -u rkllmd -o cat")
    assert "Watchdog timeout" in log
    assert "Fatal Python error: Aborted" in log


LONG = {"op": "complete", "prompt": "One, two", "temperature": 3, "stream": "tokens"}


def long_answer(machine, tokens):
    """A request whose answer has begun; its replies as they come."""
    request = json.dumps(LONG | {"max_tokens": tokens})
    asking = machine.start(f"echo {shlex.quote(request)} | python3 -c {shlex.quote(TALK)}")
    while '"delta"' not in (line := asking.stdout.readline()):
        assert line, asking.wait()
    return asking


TALK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as talk:
    talk.connect("/run/rkllmd/rkllmd.sock")
    talk.sendall(sys.stdin.buffer.read())
    for line in talk.makefile():
        print(line, end="", flush=True)
        if '"final":true' in line:
            break
"""


def last(asking):
    """The final reply."""
    with asking:
        return json.loads(asking.communicate(timeout=100)[0].splitlines()[-1])


def test_stopping_lets_an_answer_finish(plain):
    configure(plain, "slow", SLOW)
    asking = long_answer(plain, 60)
    plain.run("systemctl stop rkllmd")
    assert last(asking)["reason"] in {"length", "stop"}
    assert properties(plain, "Result")["Result"] == "success"


def test_stopping_ends_an_answer_that_takes_too_long(plain):
    daemon = "ExecStart=\nExecStart=/usr/bin/rkllmd --set shutdown.drain_s=0"
    configure(plain, "slow", f"{SLOW}{daemon}\n")
    asking = long_answer(plain, 1500)
    plain.run("systemctl stop rkllmd")
    assert last(asking)["code"] == "shutting_down"
    assert properties(plain, "Result")["Result"] == "success"


def test_a_changed_prompt_is_followed(board):
    pid = main_pid(board)
    board.run(f"echo 'You are Mia.' >{PROMPT}")
    show = "rkllmctl call cache.show model=tiny-assistant name=system"

    def is_followed():
        entry = json.loads(board.run(show))["caches"][0]
        return entry["content"].strip() == "You are Mia." and entry["state"] == "verified"

    until(is_followed)
    assert main_pid(board) == pid


def test_a_copied_model_is_followed(board):
    pid = main_pid(board)
    board.run(f"cp -r {MODEL} /var/lib/rkllmd/models/second")
    until(lambda: "second" in board.run("rkllmctl call model.list"))
    assert board.run("rkllmctl ask --model second 'What is your name?'")
    until(lambda: caches(board).get("second/system") == "verified")
    assert main_pid(board) == pid


def test_the_group_may_talk_and_others_may_not(board):
    board.run("useradd --groups rkllmd inside && useradd outside")
    uid = board.run("id -u inside")
    board.run("runuser -u inside -- rkllmctl ask 'What is your name?'")
    refused = board.run("runuser -u outside -- rkllmctl status; echo $?", check=False)
    assert "Permission denied" in refused
    assert refused.endswith("7")
    mend = "usermod -aG rkllmd outside"
    assert f"→ sudo {mend}, " in board.run("runuser -u outside -- rkllmctl doctor", check=False)
    board.run(mend)
    board.run("runuser -u outside -- rkllmctl status")
    log = board.run("journalctl -b -u rkllmd -o cat")
    assert f"chat uid={uid} pid=" in log
    assert "What is your name" not in log


def test_requests_are_told_with_priority_and_text_only_when_wanted(board):
    board.run("rkllmctl ask 'Is the kettle on?'")
    board.run("sed -i 's/#content: false/content: true/' /etc/rkllmd/rkllmd.yaml")
    board.run("systemctl reload rkllmd")
    board.run("rkllmctl ask 'Is the oven on?'")
    lines = board.run("journalctl -b -u rkllmd -o json").splitlines()
    requests = [json.loads(line) for line in lines if "requests: chat" in line]
    assert {one["PRIORITY"] for one in requests} == {"6"}
    said = [one["MESSAGE"] for one in requests]
    assert not any("kettle" in line for line in said)
    assert 'asked="Is the oven on?"' in said[-1]
    names = re.findall(r"(?:^| )([a-z_]+)=", said[0])
    assert names == [
        "uid", "pid", "model", "prompt", "cached", "generated", "queue_ms", "first_ms", "total_ms",
        "outcome",
    ]  # fmt: skip


def test_a_reload_that_fails_says_why_and_changes_nothing(board):
    pid = main_pid(board)
    board.run("cp /etc/rkllmd/rkllmd.yaml /tmp && echo 'nonsense: 1' >>/etc/rkllmd/rkllmd.yaml")
    board.run("systemctl reload rkllmd && exit 1 || exit 0")
    assert "nonsense" in board.run("journalctl -b -u rkllmd -o cat")
    board.run("cp /tmp/rkllmd.yaml /etc/rkllmd/")
    board.run("systemctl reload rkllmd")
    assert main_pid(board) == pid


def test_a_wrong_configuration_is_not_tried_again(plain):
    daemon = "ExecStart=\nExecStart=/usr/bin/rkllmd --set nonsense=1"
    with pytest.raises(AssertionError):
        configure(plain, "wrong", f"[Service]\n{daemon}\n")
    shown = properties(plain, "ActiveState", "NRestarts", "ExecMainStatus")
    assert (shown["ActiveState"], shown["ExecMainStatus"]) == ("failed", "78")
