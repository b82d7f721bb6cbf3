"""Starting, being ready, reloading and leaving, as systemd and people see it."""

import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rkllmd.client import ConnectionLost, DaemonError
from tests.daemon.household import PATIENCE_SECONDS, ROOT


def test_ready_is_said_when_the_system_cache_is_verified_and_not_before(household):
    household.start(wait=False)
    household.hear("READY=1")
    assert household.caches() == {"parrot/system": "verified"}
    before = household.said[:-1]
    assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in before)
    assert not any("READY=1" in message for message in before)
    assert household.stop() == 0
    household.hear("STOPPING=1")


def test_a_client_that_comes_early_is_answered(household):
    household.start(wait=False)
    household.hear("STATUS=starting")
    answer = household.greedy("hello")
    assert answer["event"] == "done"
    assert answer["text"]


def test_the_watchdog_is_fed(household):
    household.start(WATCHDOG_USEC="400000")
    household.hear("WATCHDOG=1")
    household.hear("WATCHDOG=1")


def test_sighup_reloads_and_says_so(household):
    household.start()
    household.prompts.joinpath("system.txt").write_text("You are Mia.")
    household.process.send_signal(signal.SIGHUP)
    household.hear("RELOADING=1")
    household.hear("READY=1")
    household.until(
        lambda: household.ask("cache.show")["caches"][0]["content"] == "You are Mia.", "the reload"
    )


def test_reload_says_what_took_effect_and_what_waits(household):
    household.start()
    file = household.folder / "rkllmd.yaml"
    file.write_text(file.read_text() + "log: {level: debug}\nsocket: {requests_max: 7}\n")
    reply = household.ask("reload")
    assert reply["applied"] == ["log.level"]
    assert reply["needs_restart"] == ["socket.requests_max"]
    file.write_text("nonsense: 1\n")
    with pytest.raises(DaemonError, match="nonsense") as caught:
        household.ask("reload")
    assert caught.value.code == "bad_request"
    assert household.greedy("still there?")["event"] == "done"


def test_sigterm_lets_an_answer_finish(household):
    household.start()
    with household.client() as client:
        events = client.events("chat", text="go", max_tokens=150, temperature=0, stream="tokens")
        next(event for event in events if event["event"] == "delta")
        household.process.send_signal(signal.SIGTERM)
        done = list(events)[-1]
    assert done["reason"] in {"length", "stop"}
    assert household.stop() == 0


def test_while_it_drains_new_requests_are_refused(household):
    household.start()
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rwb") as lines:
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(str(household.socket))
        ask = {"id": "long", "op": "chat", "text": "go", "max_tokens": 400, "stream": "tokens"}
        lines.write(json.dumps(ask).encode() + b"\n")
        lines.flush()
        while json.loads(lines.readline())["event"] != "delta":
            pass
        household.process.send_signal(signal.SIGTERM)
        household.hear("STOPPING=1")
        lines.write(b'{"id":"late","op":"ping"}\n')
        lines.flush()
        finals = {reply["id"]: reply for reply in map(json.loads, lines) if reply.get("final")}
    assert finals["late"]["code"] == "shutting_down"
    assert finals["long"]["event"] == "done"


def test_a_second_signal_does_not_wait(household):
    household.settings.append("shutdown.drain_s=60")
    household.start()
    with household.client() as client:
        events = client.events("chat", text="go", max_tokens=1500, temperature=0, stream="tokens")
        next(event for event in events if event["event"] == "delta")
        household.process.send_signal(signal.SIGTERM)
        household.hear("STOPPING=1")
        household.process.send_signal(signal.SIGTERM)
        with pytest.raises(DaemonError) as caught:
            list(events)
    assert caught.value.code == "shutting_down"
    assert household.stop() == 0


def test_no_worker_outlives_the_daemon(household):
    household.start()
    (worker,) = household.worker_pids()
    household.stop(signal.SIGKILL)
    household.until(lambda: not _alive(worker), "the worker's end")


def _alive(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


def test_a_second_daemon_is_told_who_has_the_socket(household):
    household.start()
    done = subprocess.run(
        [sys.executable, "-m", "rkllmd.cli.daemon", "--config",
         str(household.folder / "rkllmd.yaml")],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, env={"PYTHONPATH": str(ROOT)},
        check=False,
    )  # fmt: skip
    assert done.returncode == 69
    assert str(household.process.pid) in done.stderr
    assert household.greedy("still there?")["event"] == "done"


def test_a_stale_socket_is_replaced(household):
    household.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(household.socket))
    household.start()
    assert household.ask("ping")["event"] == "ok"


def test_a_wrong_setting_stops_the_start_and_says_where(household):
    file = household.folder / "rkllmd.yaml"
    file.write_text(file.read_text() + "models:\n  prelod: all\n")
    done = subprocess.run(
        [sys.executable, "-m", "rkllmd.cli.daemon", "--config", str(file)],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, env={"PYTHONPATH": str(ROOT)},
        check=False,
    )  # fmt: skip
    assert done.returncode == 78
    assert f"{file}:3" in done.stderr
    assert "preload" in done.stderr


def test_a_broken_model_does_not_keep_the_others_from_answering(household, parrot):
    household.add_model("broken", parrot).write_bytes(b"GGUF nonsense")
    (household.models / "wrong").mkdir()
    household.add_model("wrong", parrot)
    (household.models / "wrong" / "model.yaml").write_text("temprature: 1\n")
    household.settings.append("models.preload=all")
    household.settings.append("models.default=parrot")
    household.start()
    states = {m["name"]: (m["state"], m["reason"]) for m in household.ask("model.list")["models"]}
    assert states["parrot"][0] == "ready"
    assert states["broken"][0] == "failed"
    assert states["broken"][1]
    assert states["wrong"][0] == "broken"
    assert "temprature" in states["wrong"][1]
    assert household.greedy("hello")["event"] == "done"
    with pytest.raises(DaemonError) as caught:
        household.greedy("hello", model="broken")
    assert caught.value.code == "load_failed"


def test_a_client_is_told_when_the_daemon_dies(household):
    household.start()
    with household.client() as client:
        events = client.events("chat", text="go", max_tokens=500, stream="tokens")
        next(event for event in events if event["event"] == "delta")
        killer = threading.Thread(target=household.stop, args=(signal.SIGKILL,))
        killer.start()
        with pytest.raises(ConnectionLost):
            list(events)
        killer.join()
