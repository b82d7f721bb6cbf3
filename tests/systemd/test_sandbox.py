"""What the service is kept from, tried from inside a copy of its unit."""

import json
import os
import stat
from pathlib import Path

import pytest

PROBE = Path(__file__).parent / "probe.py"
NEEDED = [
    "write the cache", "read the models", "read the configuration", "see the free memory",
    "bind threads to cores", "use a Unix socket", "open the NPU",
]  # fmt: skip
OTHER_LINES = (
    "Requires=", "After=", "Type=", "NotifyAccess=", "Exec", "Sockets=", "Timeout", "Watchdog",
    "Restart",
)  # fmt: skip
DEVICES = {"rknpu": os.makedev(10, 200), "fuse": os.makedev(10, 229)}
"""The NPU's, which here is another driver's under its name, and one that is nobody's business."""
FREE = """
[Service]
Type=oneshot
User=rkllmd
"""


def probed(machine, name, unit):
    """What the probe prints in a unit."""
    machine.write(f"/run/systemd/system/{name}.service", unit)
    command = "ExecStart=/usr/bin/python3 -B /run/probe.py\nStandardOutput=truncate:/run/probed"
    machine.write(f"/run/systemd/system/{name}.service.d/run.conf", f"[Service]\n{command}\n")
    machine.run(f"systemctl daemon-reload && systemctl start {name}")
    return json.loads(machine.run("cat /run/probed"))


@pytest.fixture(scope="module")
def inside(boot, tmp_path_factory):
    """What came of the probe in the service's sandbox, and out of it."""
    folder = tmp_path_factory.mktemp("devices")
    for name, number in DEVICES.items():
        os.mknod(folder / name, stat.S_IFCHR, number)
    machine = boot(*(f"--bind={folder / name}:/dev/{name}" for name in DEVICES))
    machine.run("apt-get install -y -qq /packages/rkllmd.deb")
    machine.run("chmod 666 /dev/fuse && chmod 660 /dev/rknpu && chgrp render /dev/rknpu")
    machine.run("mkdir -p /home/someone && echo >/tmp/of-others && chmod 777 /home /root")
    machine.write("/run/probe.py", PROBE.read_text())
    unit = machine.run("cat /lib/systemd/system/rkllmd.service").splitlines()
    kept = [line for line in unit if not line.startswith(OTHER_LINES)]
    sandbox = "\n".join(kept).replace("[Service]", "[Service]\nType=oneshot")
    yield {"free": probed(machine, "free", FREE), "kept": probed(machine, "kept", sandbox)}
    machine.close()


def test_what_it_needs_it_can_do(inside):
    tries = inside["kept"]["tries"]
    assert {name: tries[name] for name in NEEDED} == dict.fromkeys(NEEDED, "done")


def test_what_it_must_not_do_it_cannot(inside):
    tries = inside["kept"]["tries"]
    assert [name for name, what in tries.items() if what == "done" and name not in NEEDED] == []


def test_it_is_the_sandbox_that_forbids(inside):
    """Each of these is possible for the same user without the sandbox, so its line is on."""
    kept, free = inside["kept"]["tries"], inside["free"]["tries"]
    forbidden = {name for name in free if free[name] == "done" and kept[name] != "done"}
    assert forbidden >= {
        "write the models", "write /tmp of others", "read a home", "make a file suid",
        "open fuse", "use the internet", "use netlink", "see others' processes",
        "make a user namespace", "change the personality",
    }  # fmt: skip


def test_it_is_nobody_and_has_nothing(inside):
    facts = inside["kept"]["facts"]
    assert facts["uid"] != 0
    assert facts["groups"] >= 2, "render and video"
    assert facts["umask"] == "0077"
    assert facts["no new privileges"] == "1"
    assert facts["capabilities"] == ["0000000000000000"]
    assert facts["filters"] == "2"
    assert facts["interfaces"] == ["lo"]
