"""The doctor on a board in good health, with each illness it knows, and by its remedies mended."""

import ast
import contextlib
import json
import os
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rkllmd.cli.ctl import doctor, findings, model_findings, service_findings
from rkllmd.client import Client, ConnectionLost, DaemonError
from rkllmd.native.quirks import QUIRKS
from tests.board.test_board import ROCK, tree
from tests.daemon.household import PATIENCE_SECONDS
from tests.fakes.rkllm.built import NEWEST, built, make_model

SETTINGS = "paths: {models: [models], cache: cache, prompts: config}\n"
MODEL = "models/qwen/qwen-rk3588.rkllm"
NODE = "dev/dri/by-path/platform-fdab0000.npu-render"
CPU = "sys/devices/system/cpu/cpufreq/policy4/scaling_governor"
LIBRARY = "usr/lib/librkllmrt.so"
GROUP = f"root:x:99999:\nrender:x:{os.getgid()}:"
NPU = "proc/device-tree/compatible"
FULL = 1 << 50
MODULES = (findings, model_findings, service_findings)
GOOD = {
    **ROCK,
    CPU: "performance\n",
    "proc/sys/fs/inotify/max_user_watches": "65536\n",
    "proc/sys/fs/inotify/max_user_instances": "128\n",
    LIBRARY: "\0RKLLM SDK (version: 1.2.0 (2025))\0",
    MODEL: "x" * 4096,
    "etc/rkllmd/rkllmd.yaml": SETTINGS.replace("models]", "/models]").replace(
        "cache: ", "cache: /"
    ),
    "cache/README": "",
    "etc/group": f"{GROUP}rkllmd,ada\n",
    "etc/passwd": "rkllmd:x:990:990::/nonexistent:/usr/sbin/nologin\n",
}
CONFIG = "etc/rkllmd/rkllmd.yaml"


def settings(more):
    return {CONFIG: GOOD[CONFIG] + more}


def mode(bits):
    return lambda root: (root / NODE).chmod(bits)


def dangling(root):
    (root / NODE).unlink()
    (root / NODE).symlink_to("../gone")


def unreadable(root):
    (root / LIBRARY).unlink()
    (root / LIBRARY).symlink_to("/proc/self/mem")


def large(root):
    with (root / MODEL).open("r+b") as file:
        file.truncate(model_findings.DOMAIN_BYTES + 4096)


# By name: other files (None takes one away), what is done to them, what is found, the remedy.
ILLNESSES = {
    "an old driver": ({"sys/module/rknpu/version": "0.8.2\n"}, None, "driver", "warning", "0.9.8"),
    "a silent driver": ({"sys/module/rknpu/version": None}, None, "driver", "warning", "dmesg"),
    "no device": ({NODE: None}, None, "devices", "problem", "full-upgrade"),
    "a device for its owner": ({}, mode(0o600), "devices", "problem", "udevadm"),
    "a link without its device": ({}, dangling, "devices", "problem", "udevadm"),
    "a service that is in no group": ({"etc/group": f"{GROUP}ada\n"}, None, "groups", "problem",
                                      "usermod -aG render rkllmd"),
    "slow clocks": ({CPU: "ondemand\n"}, None, "clocks", "warning", "rkllmd-performance"),
    "a hot chip": ({"sys/class/thermal/thermal_zone0/temp": "91000\n"}, None, "temperature",
                   "warning", "fan"),
    "little memory": ({"proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 1000 kB\n"}, None,
                      "memory", "warning", "rkllmctl model unload"),
    "few watches": ({"proc/sys/fs/inotify/max_user_watches": "128\n"}, None, "inotify", "warning",
                    "sysctl -w fs.inotify.max_user_watches=8192"),
    "no runtime": ({LIBRARY: None, MODEL: None, "models/tiny/tiny.gguf": "GGUF"}, None, "runtime",
                   "problem", "copy librkllmrt.so"),
    "an unreadable runtime": ({}, unreadable, "runtime", "problem", "chmod a+rx"),
    "an unknown runtime": ({LIBRARY: "RKLLM SDK (version: 9.9.9"}, None, "runtime", "problem",
                           "engine.layout"),
    "no model": ({MODEL: None}, None, "models", "problem", "copy a folder"),
    "a model without a folder": ({"models/lost.rkllm": "x"}, None, "models", "warning", "ls -l"),
    "two model files": ({"models/qwen/zwei-rk3588.rkllm": "x"}, None, "model qwen", "warning",
                        "ls -l"),
    "a model for another chip": ({"models/qwen/a-rk3576.rkllm": "x", MODEL: None}, None,
                                 "model qwen", "problem", "target_platform rk3588"),
    "a large model on an old driver": ({"sys/module/rknpu/version": "0.9.5\n"}, large,
                                       "model qwen", "problem", "0.9.8"),
    "a bad model.yaml": ({"models/qwen/model.yaml": "temprature: 1\n"}, None, "model qwen",
                         "problem", "rkllmctl reload"),
    "a model for no NPU": ({NPU: None, "models/a/a.gguf": "GGUF"}, None, "model qwen", "problem",
                           "mv "),
    "a default model for no NPU": ({NPU: None}, None, "models.default", "problem",
                                   "set models.default"),
    "a default model without its runtime": ({LIBRARY: None}, None, "models.default", "problem",
                                            "set models.default"),
    "a default model that is not there": (settings("models: {default: qven}\n"), None,
                                          "models.default", "problem", "correct models.default"),
    "a preloaded model that is not there": (settings("models: {preload: [qwen, qven]}\n"), None,
                                            "models.preload", "problem", "correct models.preload"),
    "more models than may be loaded": (
        {**settings("models: {preload: all, loaded_max: 1}\n"), "models/a/a.gguf": "GGUF"}, None,
        "models.preload", "warning", "set models.loaded_max: 2",
    ),
    "a bad configuration": ({CONFIG: "modles: 1\n"}, None, "config", "problem", "config check"),
    "no configuration": ({CONFIG: None}, None, "config", "problem", "config check"),
    "no caches": (settings("cache: {enabled: false}\n"), None, "caches", "warning",
                  "cache.enabled: true"),
    "a full disk": (settings(f"cache: {{free_bytes_min: {FULL}}}\n"), None, "cache folder",
                    "warning", "free space"),
    "a cache folder that is out of reach": (
        {CONFIG: GOOD[CONFIG].replace("cache: /cache", f"cache: /{'a' * 300}")}, None,
        "cache folder", "warning", "paths.cache",
    ),
}  # fmt: skip
ALSO = {
    "a large model on an old driver": {("driver", "warning")},
    "a default model for no NPU": {("model qwen", "problem")},
    "a default model without its runtime": {("model qwen", "problem"), ("runtime", "problem")},
}
"""What else is found, since one thing comes of another."""
HEALTHS = {
    "a whole board": {},
    "a device for everybody": {"etc/group": "nonsense\n"},
    "no service yet": {"etc/passwd": None},
    "a machine without an NPU": {
        **dict.fromkeys(GOOD, None), CONFIG: GOOD[CONFIG], "models/tiny/model.gguf": "GGUF",
    },
}  # fmt: skip
LIMITS = "Limit  Soft Limit  Hard Limit  Units\nMax open files            {}   4096   files\n"
STATUS = {
    "version": "1", "state": "ready", "ready": True, "building": "", "notes": [],
    "models": [{"name": "qwen", "state": "ready", "reason": ""}],
    "caches": [{"model": "qwen", "name": "system", "state": "verified", "reason": ""}],
}  # fmt: skip


def lost(cause):
    error = ConnectionLost("lost")
    error.__cause__ = cause
    return [service_findings.unreachable(error, "ada", "rkllmd")]


def model(state):
    return service_findings.status({**STATUS, "models": [{**STATUS["models"][0], "state": state}]})


def cache(state):
    return service_findings.status({**STATUS, "caches": [{**STATUS["caches"][0], "state": state}]})


BUILD = "rkllmctl cache build qwen system --force"
# What the service says, what is found, the remedy.
SERVICE = {
    "a failed unit": (lambda: [service_findings.unit("u", "loaded failed")], "units", "problem",
                      "systemctl reset-failed u"),
    "a stopped unit": (lambda: [service_findings.unit("u", "loaded inactive")], "units", "problem",
                       "systemctl start u"),
    "a systemd that hangs": (lambda: [service_findings.silent("u")], "units", "problem",
                             "systemctl --failed"),
    "few files": (lambda: service_findings.open_files(LIMITS.format(256)), "open files", "warning",
                  "LimitNOFILE=65536"),
    "no daemon": (lambda: lost(FileNotFoundError()), "daemon", "problem", "systemctl start rkllmd"),
    "a dead socket": (lambda: lost(ConnectionRefusedError()), "daemon", "problem",
                      "systemctl start rkllmd"),
    "somebody else": (lambda: lost(PermissionError()), "daemon", "problem",
                      "usermod -aG rkllmd ada"),
    "a daemon that hangs": (lambda: lost(TimeoutError()), "daemon", "problem",
                            "systemctl restart rkllmd"),
    "a daemon that refuses": (
        lambda: [service_findings.refused("daemon", DaemonError({"hint": "Wait."}))], "daemon",
        "problem", "Wait.",
    ),
    "a daemon that builds": (
        lambda: service_findings.status({**STATUS, "ready": False, "state": "starting"}), "daemon",
        "warning", "rkllmctl wait",
    ),
    "a note": (lambda: service_findings.status({**STATUS, "notes": ["mind"]}), "daemon", "warning",
               "rkllmctl status"),
    "a failed model": (lambda: model("failed"), "model qwen", "problem",
                       "rkllmctl model load qwen"),
    "a broken cache": (lambda: cache("broken"), "cache qwen system", "problem", BUILD),
    "a deadly cache": (lambda: cache("quarantined"), "cache qwen system", "problem", BUILD),
    "a stale cache": (lambda: cache("stale"), "cache qwen system", "warning", BUILD),
    "an unproved cache": (lambda: cache("unverified"), "cache qwen system", "warning", BUILD),
}  # fmt: skip
ANSWER = {"model": "qwen", "timing": {"ttft_ms": 1}, "usage": {"cache_hit": True}}
WELL = {
    "nothing wrong": lambda: service_findings.status(STATUS),
    "units": lambda: [
        service_findings.unit("u", said) for said in ("loaded active", "not-found inactive", "")
    ],
    "many files": lambda: service_findings.open_files(LIMITS.format(65536)),
    "an unknown limit": lambda: service_findings.open_files(""),
    "an answer": lambda: [service_findings.canary(ANSWER)],
}


def examined(root, files, spoil=None):
    (root / "models").mkdir(parents=True)
    tree(root, {name: text for name, text in {**GOOD, **files}.items() if text is not None})
    if (root / NODE).exists():
        (root / NODE).chmod(0o660)
    if spoil:
        spoil(root)
    return list(doctor.examine(root, None))


def wrong(found):
    return {(one.about, one.grade) for one in found if one.grade != "ok"}


@pytest.fixture
def healthy_runtime(monkeypatch):
    monkeypatch.setattr(findings, "QUIRKS", ())


@pytest.mark.parametrize("health", HEALTHS)
def test_good_health(health, tmp_path, healthy_runtime):
    spoil = mode(0o666) if health == "a device for everybody" else None
    assert wrong(examined(tmp_path / "root", HEALTHS[health], spoil)) == set()


def test_what_is_said_of_a_whole_board(tmp_path):
    said = {one.about: one.reason for one in examined(tmp_path / "root", {})}
    assert said["board"] == "RK3588, Radxa ROCK 5B"
    assert "rk3588.rkllm" in said["model qwen"]


@pytest.mark.parametrize("illness", ILLNESSES)
def test_each_illness_has_its_remedy(illness, tmp_path, healthy_runtime):
    files, spoil, about, grade, remedy = ILLNESSES[illness]
    found = examined(tmp_path / "root", files, spoil)
    assert wrong(found) == {(about, grade)} | ALSO.get(illness, set())
    assert any(remedy in one.remedy for one in found if (one.about, one.grade) == (about, grade))
    assert all(one.remedy for one in found if one.grade != "ok")


@pytest.mark.parametrize("illness", SERVICE)
def test_each_illness_of_the_service_has_its_remedy(illness):
    story, about, grade, remedy = SERVICE[illness]
    (one,) = [one for one in story() if one.grade != "ok"]
    assert (one.about, one.grade) == (about, grade)
    assert remedy in one.remedy


@pytest.mark.parametrize("health", WELL)
def test_good_health_of_the_service(health):
    assert wrong(WELL[health]()) == set()


def test_every_finding_has_a_story(tmp_path, monkeypatch):
    """A finding that none of the tables above brings about is not to be added."""
    seen = set()
    for module in MODULES:

        def found(*words, of=module, make=findings.Finding):
            seen.add((of.__name__, sys._getframe(1).f_lineno))
            return make(*words)

        monkeypatch.setattr(module, "Finding", found)
    for number, (files, spoil, *_) in enumerate(ILLNESSES.values()):
        examined(tmp_path / f"ill{number}", files, spoil)
    for number, files in enumerate(HEALTHS.values()):
        examined(tmp_path / f"well{number}", files, mode(0o666) if number == 1 else None)
    examined(tmp_path / "new", {LIBRARY: "RKLLM SDK (version: 1.2.3 ", "cache/README": None})
    with monkeypatch.context() as without:
        without.setattr(model_findings, "find_spec", lambda _: None)
        large_gguf = {"models/a/a.gguf": "GGUF", "models/a/model.yaml": "engine: llama\n"}
        examined(tmp_path / "llama", large_gguf)
    for story in (*WELL.values(), *(story for story, *_ in SERVICE.values())):
        list(story())
    without_story = [
        f"{module.__name__}, line {call.lineno}"
        for module in MODULES
        for call in ast.walk(ast.parse(Path(module.__file__).read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Finding"
        if not any((module.__name__, line) in seen
                   for line in range(call.lineno, call.end_lineno + 1))
    ]  # fmt: skip
    assert without_story == []
    assert "Finding(" not in Path(doctor.__file__).read_text()


def test_a_model_without_its_engine(tmp_path, monkeypatch):
    monkeypatch.setattr(model_findings, "find_spec", lambda _: None)
    files = {"models/a/a.gguf": "GGUF", "models/a/model.yaml": "engine: llama\n"}
    (one,) = [one for one in examined(tmp_path / "root", files) if one.about == "model a"]
    assert (one.grade, "rkllmd[llama]" in one.remedy) == ("problem", True)


def test_known_faults_of_a_runtime_are_told_with_their_remedies(tmp_path):
    found = examined(tmp_path / "root", {LIBRARY: "RKLLM SDK (version: 1.2.3 "})
    told = {one.remedy for one in found if one.about == "runtime" and one.grade == "warning"}
    assert told == {quirk.remedy for quirk in QUIRKS if "1.2.3" in quirk.versions}


def test_a_model_that_cannot_be_used_here_is_moved_away(tmp_path, healthy_runtime):
    files, spoil, *_ = ILLNESSES["a model for no NPU"]
    found = examined(tmp_path / "root", files, spoil)
    (remedy,) = {one.remedy for one in found if one.remedy}
    (tmp_path / "home").mkdir()
    subprocess.run(
        remedy, shell=True, check=True, env={**os.environ, "HOME": str(tmp_path / "home")}
    )
    assert wrong(doctor.examine(tmp_path / "root", None)) == set()


# On running daemons


def asked(home, timeout_s=PATIENCE_SECONDS):
    """What the daemon's part of the doctor finds."""
    with Client(home.socket, timeout_s=timeout_s) as client:
        return {(one.about, one.grade): one.remedy for one in doctor.daemon(client)}


def mend(home, ctl, remedy):
    """Type a remedy in."""
    words = remedy.split()
    assert words[0] == "rkllmctl"
    ctl.run(*words[1:])
    home.until(lambda: ctl.json("status")["ready"])


def test_the_doctor_on_a_running_daemon(ctl, running):
    text = ctl.run("doctor")
    assert "ok      canary: parrot answered after " in text
    assert "ok      cache parrot system: verified" in text
    assert text.splitlines()[-1].startswith("0 problems, ")
    found = ctl.json("doctor")["findings"]
    assert {"about", "grade", "reason", "remedy"} == found[0].keys()
    told = running.ask("status")
    assert STATUS.keys() <= told.keys()
    assert all(STATUS[kind][0].keys() <= told[kind][0].keys() for kind in ("models", "caches"))


def test_a_broken_cache_is_built_by_its_remedy(household, ctl_of):
    household.start().stop()
    (state,) = household.cache.glob("parrot/*.rkllm_cache")
    state.write_bytes(b"x" * state.stat().st_size)
    household.settings.append("models.preload=none")
    ctl = ctl_of(household.start())
    found = {(one["about"], one["grade"]): one["remedy"]
             for one in ctl.json("doctor", status=1)["findings"]}  # fmt: skip
    mend(household, ctl, found["cache parrot system", "problem"])
    assert ctl.run("doctor").splitlines()[-1].startswith("0 problems")


def test_a_runtime_that_is_installed_is_taken(household, ctl_of):
    library = household.folder / "librkllmrt.so"
    file = household.models / "npu" / "npu.rkllm"
    file.parent.mkdir()
    make_model(file)
    household.settings.append("models.default=npu")
    with (household.folder / "rkllmd.yaml").open("a") as settings_file:
        settings_file.write(f"engine: {{library: {library}}}\nmodels: {{default: npu}}\n")
    ctl = ctl_of(household.start())
    found = ctl.json("doctor", status=1)["findings"]
    ill = {one["about"] for one in found if one["grade"] == "problem"}
    assert {"runtime", "model npu", "models.default", "canary"} <= ill
    shutil.copy(built(NEWEST), library)
    (remedy,) = [one["remedy"] for one in found if one["about"] == "runtime"]
    assert remedy.endswith(", then rkllmctl reload")
    ctl.run("reload")
    assert not any(
        one["grade"] == "problem" for one in json.loads(ctl.run("doctor", "--json"))["findings"]
    )


def test_few_files_of_a_running_daemon(running):
    pid = running.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        assert ("open files", "warning") in asked(running)
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_a_daemon_that_hangs(running):
    running.process.send_signal(signal.SIGSTOP)
    try:
        assert list(asked(running, timeout_s=0.1)) == [("daemon", "problem")]
    finally:
        running.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def somebody():
    """Be a user who may do nothing."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(before)


def test_somebody_who_may_not_use_the_socket(running):
    bits = running.socket.stat().st_mode
    running.socket.chmod(0)
    try:
        with somebody():
            ((found, remedy),) = asked(running).items()
    finally:
        running.socket.chmod(bits)
    assert found == ("daemon", "problem")
    assert remedy.startswith("sudo usermod -aG ")


def test_a_systemd_that_hangs(tmp_path, monkeypatch):
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\nexec sleep 50\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(doctor, "SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(doctor, "SYSTEMCTL_SECONDS", 0.1)
    assert list(doctor.units()) == [service_findings.silent(unit) for unit in doctor.UNITS]


def test_somebody_without_a_name(tmp_path, monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)

    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with Client(tmp_path / "none") as client:
        (found,) = doctor.daemon(client)
    assert found.remedy == "systemctl start rkllmd"


def test_the_doctor_without_a_daemon(household, ctl_of):
    ctl = ctl_of(household)
    found = json.loads(ctl.run("doctor", "--json", status=1))["findings"]
    (one,) = [one for one in found if one["about"] == "daemon"]
    assert (one["grade"], one["remedy"]) == ("problem", "systemctl start rkllmd")
    examined(household.folder / "copy", {})
    assert ctl.run("doctor", "--root", str(household.folder / "copy")).endswith("warnings\n")


def test_a_daemon_that_takes_no_requests_is_told(household, ctl_of):
    household.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(household.socket))
        assert "daemon: cannot reach" in ctl_of(household).run("doctor", status=1)
