"""The doctor on boards in good health, and with each illness it knows."""

import json
import os
import socket

import pytest

from rkllmd.cli.ctl import doctor, findings
from rkllmd.client import DaemonError
from rkllmd.native.quirks import QUIRKS
from tests.board.test_board import ROCK, tree

GOOD = {
    **ROCK,
    "sys/devices/system/cpu/cpufreq/policy4/scaling_governor": "performance\n",
    "proc/sys/fs/inotify/max_user_watches": "65536\n",
    "proc/sys/fs/inotify/max_user_instances": "128\n",
    "usr/lib/librkllmrt.so": "\0RKLLM SDK (version: 1.2.0 (2025))\0",
    "models/qwen/qwen-rk3588.rkllm": "x" * 4096,
    "rkllmd.yaml": "paths: {models: [models], cache: cache, prompts: config}\n",
    "cache/README": "",
    "etc/group": f"root:x:99999:\nrender:x:{os.getgid()}:rkllmd,ada\n",
    "etc/passwd": "rkllmd:x:990:990::/nonexistent:/usr/sbin/nologin\n",
}
FULL = 1 << 50
NODE = "dev/dri/by-path/platform-fdab0000.npu-render"
CPU = "sys/devices/system/cpu/cpufreq/policy4/scaling_governor"


def examined(root, files, config="rkllmd.yaml"):
    tree(root, {name: text for name, text in files.items() if text is not None})
    if (root / NODE).exists():
        (root / NODE).chmod(0o660)
    return list(doctor.examine(root, str(root / config)))


def wrong(found):
    return {(one.about, one.grade) for one in found if one.grade != "ok"}


@pytest.fixture
def healthy_runtime(monkeypatch):
    monkeypatch.setattr(findings, "QUIRKS", ())


def test_a_healthy_board(tmp_path, healthy_runtime):
    found = examined(tmp_path, GOOD)
    assert wrong(found) == set()
    said = {one.about: one.reason for one in found}
    assert said["board"] == "RK3588, Radxa ROCK 5B"
    assert "version 1.2.0, sha256 " in said["runtime"]


ILLNESSES = {
    "an old driver": ({"sys/module/rknpu/version": "0.8.2\n"}, "driver", "warning", "0.9.8"),
    "a silent driver": ({"sys/module/rknpu/version": None}, "driver", "problem", "0.9.8"),
    "no device": ({NODE: None}, "devices", "problem", "kernel"),
    "a service that is in no group": ({"etc/group": f"render:x:{os.getgid()}:ada\n"}, "groups",
                                      "problem", "adduser rkllmd render"),
    "slow clocks": ({CPU: "ondemand\n"}, "clocks", "warning", "rkllmd-performance"),
    "a hot chip": ({"sys/class/thermal/thermal_zone0/temp": "91000\n"}, "temperature", "warning",
                   "fan"),
    "little memory": ({"proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 1000 kB\n"}, "memory",
                      "warning", "model unload"),
    "few watches": ({"proc/sys/fs/inotify/max_user_watches": "128\n"}, "inotify", "warning",
                    "sysctl -w fs.inotify.max_user_watches=8192"),
    "no runtime": ({"usr/lib/librkllmrt.so": None}, "runtime", "problem", "/usr/lib"),
    "an unknown runtime": ({"usr/lib/librkllmrt.so": "RKLLM SDK (version: 9.9.9"}, "runtime",
                           "problem", "engine.layout"),
    "no model": ({"models/qwen/qwen-rk3588.rkllm": None}, "models", "problem", "copy a folder"),
    "a model for another chip": ({"models/other/qwen-rk3576.rkllm": "x" * 4096}, "model other",
                                 "problem", "target_platform rk3588"),
    "a bad model.yaml": ({"models/qwen/model.yaml": "temprature: 1\n"}, "model qwen", "problem",
                         "mend"),
    "a bad configuration": ({"rkllmd.yaml": "nonsense: 1\n"}, "config", "problem", "config check"),
    "no caches": ({"rkllmd.yaml": GOOD["rkllmd.yaml"] + "cache: {enabled: false}\n"}, "caches",
                  "warning", "cache.enabled: true"),
    "a full disk": ({"rkllmd.yaml": GOOD["rkllmd.yaml"] + f"cache: {{free_bytes_min: {FULL}}}\n"},
                    "cache folder", "warning", "free space"),
}  # fmt: skip


@pytest.mark.parametrize("illness", ILLNESSES)
def test_each_illness_has_its_remedy(illness, tmp_path, healthy_runtime):
    files, about, grade, remedy = ILLNESSES[illness]
    found = examined(tmp_path, {**GOOD, **files})
    assert wrong(found) == {(about, grade)}
    assert all(remedy in one.remedy for one in found if one.grade == grade)


def test_a_device_that_its_group_may_not_use(tmp_path):
    found = examined(tmp_path, GOOD)
    (tmp_path / NODE).chmod(0o600)
    found = list(doctor.examine(tmp_path, str(tmp_path / "rkllmd.yaml")))
    (one,) = [one for one in found if one.about == "devices"]
    assert (one.grade, "udevadm" in one.remedy) == ("problem", True)


def test_a_device_for_everybody_needs_no_group(tmp_path):
    examined(tmp_path, {**GOOD, "etc/group": "nonsense\n"})
    (tmp_path / NODE).chmod(0o666)
    found = list(doctor.examine(tmp_path, str(tmp_path / "rkllmd.yaml")))
    assert {one.grade for one in found if one.about in {"devices", "groups"}} == {"ok"}


@pytest.mark.parametrize(
    ("said", "grade", "remedy"),
    [
        ("loaded\nactive\n", "ok", ""),
        ("loaded\nfailed\n", "problem", "systemctl restart rkllmd.service"),
        ("loaded\ninactive\n", "problem", "systemctl start rkllmd.service"),
        ("not-found\ninactive\n", "ok", ""),
        ("", "ok", ""),
    ],
)
def test_units(said, grade, remedy):
    found = findings.unit("rkllmd.service", said)
    assert (found.grade, remedy in found.remedy) == (grade, True)


def test_what_is_wrong_in_the_daemon_is_told(household, ctl_of):
    broken = household.models / "npu" / "model.rkllm"
    broken.parent.mkdir()
    broken.write_bytes(b"x" * 4096)
    ctl = ctl_of(household.start())
    with pytest.raises(DaemonError):
        household.ask("model.load", model="npu")
    found = {(one["about"], one["grade"]) for one in ctl.json("doctor", status=1)["findings"]}
    assert {("model npu", "problem"), ("canary", "problem")} <= found, "it is the default one"


def test_known_faults_of_a_runtime_are_told_with_their_remedies(tmp_path):
    found = examined(tmp_path, {**GOOD, "usr/lib/librkllmrt.so": "RKLLM SDK (version: 1.2.3 "})
    told = {one.remedy for one in found if one.about == "runtime" and one.grade == "warning"}
    assert told == {quirk.remedy for quirk in QUIRKS if "1.2.3" in quirk.versions}


def test_a_large_model_on_an_old_driver(tmp_path):
    files = {**GOOD, "sys/module/rknpu/version": "0.9.5\n"}
    tree(tmp_path, files)
    with (tmp_path / "models/qwen/qwen-rk3588.rkllm").open("r+b") as file:
        file.truncate(findings.DOMAIN_BYTES + 4096)
    found = examined(tmp_path, {**files, "models/qwen/qwen-rk3588.rkllm": None})
    assert any("memory domain" in one.reason for one in found)


def test_a_machine_without_an_npu_needs_no_runtime(tmp_path):
    files = {"models/tiny/model.gguf": "GGUF", "rkllmd.yaml": GOOD["rkllmd.yaml"]}
    assert wrong(examined(tmp_path, files)) == set()
    files = {"models/npu/model.rkllm": "x" * 4096}
    assert ("model npu", "problem") in wrong(examined(tmp_path, files))


def test_few_open_files():
    text = "Limit  Soft Limit  Hard Limit  Units\nMax open files            256   4096   files\n"
    (one,) = findings.open_files(text)
    assert "LimitNOFILE" in one.remedy
    assert list(findings.open_files("")) == []


def test_the_doctor_on_a_running_daemon(ctl, running):
    text = ctl.run("doctor")
    assert "ok      canary: parrot answered after " in text
    assert "ok      cache parrot system: verified" in text
    assert text.splitlines()[-1].startswith("0 problems, ")
    found = ctl.json("doctor")["findings"]
    assert {"about", "grade", "reason", "remedy"} == found[0].keys()


def test_the_doctor_without_a_daemon(household, ctl_of):
    ctl = ctl_of(household)
    found = json.loads(ctl.run("doctor", "--json", status=1))["findings"]
    (one,) = [one for one in found if one["about"] == "daemon"]
    assert (one["grade"], one["remedy"]) == ("problem", "systemctl start rkllmd")
    assert ctl.run("doctor", "--root", str(household.folder / "nothing")).endswith("warnings\n")


def test_a_daemon_that_takes_no_requests_is_told(household, ctl_of):
    household.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(household.socket))
        assert "daemon: cannot reach" in ctl_of(household).run("doctor", status=1)
