"""What the service is kept from, tried from inside its unit; and that each line of it is on."""

import json
import os
import stat
from pathlib import Path

import pytest

from tests.systemd.conftest import ROOT

PROBE = Path(__file__).parent / "probe.py"
UNIT = ROOT / "systemd" / "rkllmd.service"
NEEDED = [
    "write the cache", "read the models", "read the configuration", "see the free memory",
    "bind threads to cores", "use a Unix socket", "open the NPU", "open a render node",
    "open a heap",
]  # fmt: skip

DEVICES = {
    "rknpu": os.makedev(10, 200), "fuse": os.makedev(10, 229), "dri/card0": os.makedev(1, 11),
    "dri/renderD128": os.makedev(1, 11), "dma_heap/system": os.makedev(1, 11),
}  # fmt: skip
"""The NPU's and a display's, which here are other drivers' under their names, and one that is
nobody's business."""
DRIVERS = "Character devices:\n  1 mem\n  1 drm\n  1 dma_heap\n 10 misc\n\nBlock devices:\n"

NO_SANDBOX = {
    # How it runs, and ends.
    "Type", "NotifyAccess", "ExecStart", "ExecReload", "Sockets", "Environment", "KillMode",
    "TimeoutStartSec", "TimeoutStopSec", "WatchdogSec", "Restart", "RestartSec",
    "RestartPreventExitStatus", "OOMScoreAdjust", "OOMPolicy", "ManagedOOMPreference",
    # Its directories.
    "StateDirectory", "CacheDirectory", "ConfigurationDirectory", "RuntimeDirectory",
    "RuntimeDirectoryPreserve",
}  # fmt: skip
ALONE = {
    "User=rkllmd": "uid",
    "Group=rkllmd": "gid",
    "UMask=0077": "umask",
    "LimitNOFILE=65536": "open files",
    "DevicePolicy=closed": "open fuse",
    "InaccessiblePaths=-/dev/dri/card0 -/dev/dri/card1 -/dev/dri/card2 -/dev/dri/card3":
        "open a display",
    "ProtectSystem=strict": "write the system",
    "ReadOnlyPaths=/var/lib/rkllmd/models": "write the models",
    "ProtectHome=yes": "see a home",
    "PrivateTmp=yes": "write /tmp of others",
    "PrivateNetwork=yes": "network",
    "RestrictAddressFamilies=AF_UNIX": "use netlink",
    "IPAddressDeny=any": "talk over IP",
    "NoNewPrivileges=yes": "no new privileges",
    "CapabilityBoundingSet=": "capabilities",
    "LockPersonality=yes": "change the personality",
    "PrivateIPC=yes": "messages",
    "ProtectControlGroups=yes": "make a control group",
    "ProtectHostname=yes": "set the host name",
    "ProtectKernelModules=yes": "see the kernel's modules",
    "ProtectKernelTunables=yes": "change a tunable",
    "RestrictNamespaces=yes": "make a user namespace",
    "RestrictRealtime=yes": "run in real time",
    "RestrictSUIDSGID=yes": "make a file suid",
    "SystemCallFilter=@system-service": "mount",
    "SystemCallFilter=~@privileged": "change the root",
    # A container has no clock and no log of its own, nor another architecture's programs; only the
    # number of filters tells.
    "ProtectClock=yes": "filters",
    "ProtectKernelLogs=yes": "filters",
    "SystemCallArchitectures=native": "filters",
}  # fmt: skip
"""Each line of the sandbox, and what is different for root when it is the only one."""
BESIDE = {
    "DeviceAllow=char-drm rw": ("DevicePolicy=closed", "open a render node"),
    "DeviceAllow=char-dma_heap rw": ("DevicePolicy=closed", "open a heap"),
    "DeviceAllow=/dev/rknpu rw": ("DevicePolicy=closed", "open the NPU"),
    "ProtectProc=invisible": ("Group=rkllmd", "see others' processes"),
    "SystemCallErrorNumber=EPERM": ("SystemCallFilter=@system-service", "mount"),
}
"""Lines that are about another one, that one, and what they make different then."""
OF_THE_WHOLE = {
    "CacheDirectoryMode=0750": "mode of the cache",
    "RemoveIPC=yes": "left in /dev/shm",
}
"""Lines that are seen when the service's own user runs all of them."""
ROOT_WITHOUT = "CapabilityBoundingSet=~CAP_SYS_PTRACE"
"""Root with this capability sees every process, as does root's group, whatever others may see."""
FREE = "User=rkllmd"


def lines_of_the_unit():
    """The lines of the service's section."""
    text = UNIT.read_text().split("[Service]\n")[1].split("[Install]")[0]
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def sandbox():
    """Those of them that a probe may have too."""
    kept = {"StateDirectory", "CacheDirectory", "ConfigurationDirectory"}
    return "\n".join(
        line for line in lines_of_the_unit() if line.split("=")[0] not in NO_SANDBOX - kept
    )


def probed(machine, units):
    """What the probe prints in each of these units."""
    for name, lines in units.items():
        command = f"ExecStart=/usr/bin/python3 -B /run/probe.py {name}"
        output = f"StandardOutput=truncate:/run/probed-{name}"
        service = f"[Service]\nType=oneshot\n{command}\n{output}\n{lines}\n"
        machine.write(f"/run/systemd/system/{name}.service", service)
    machine.run(f"systemctl daemon-reload && systemctl start {' '.join(units)}")
    left = machine.run("ls /dev/shm").split()
    return {
        name: {"left in /dev/shm": name in left}
        | json.loads(machine.run(f"cat /run/probed-{name}"))
        for name in units
    }


@pytest.fixture(scope="module")
def machine(boot, tmp_path_factory):
    """A machine with the package, a board's devices, and things of others."""
    folder = tmp_path_factory.mktemp("devices")
    for name, number in DEVICES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        os.mknod(folder / name, stat.S_IFCHR, number)
    machine = boot(*(f"--bind={folder / name}:/dev/{name}" for name in DEVICES))
    machine.run("apt-get install -y -qq /packages/rkllmd.deb")
    machine.run("systemctl stop rkllmd")
    machine.run("chmod 666 /dev/fuse /dev/dri/card0")
    machine.run("cd /dev && chmod 660 rknpu dri/renderD128 dma_heap/system")
    machine.run("cd /dev && chgrp render rknpu dri/renderD128 && chgrp video dma_heap/system")
    machine.run("mkdir -p /home/someone /usr/lib/modules/one && touch /root/.profile")
    machine.run("echo >/tmp/of-others && chmod 666 /tmp/of-others && chmod 777 /home /root")
    machine.write("/run/drivers", DRIVERS)
    machine.run("mount --bind /run/drivers /proc/devices")
    machine.write("/run/probe.py", PROBE.read_text())
    yield machine
    machine.close()


@pytest.fixture(scope="module")
def inside(machine):
    """What came of the probe out of the service's sandbox, and in it."""
    return probed(machine, {"free": FREE}) | probed(machine, {"kept": sandbox()})


def test_what_it_needs_it_can_do(inside):
    assert {name: inside["kept"][name] for name in NEEDED} == dict.fromkeys(NEEDED, "done")


def test_what_it_must_not_do_it_cannot(inside):
    found = inside["kept"]
    assert [name for name, what in found.items() if what == "done" and name not in NEEDED] == []


def test_it_is_the_sandbox_that_forbids(inside):
    """Each of these is possible for the same user without the sandbox."""
    kept, free = inside["kept"], inside["free"]
    assert {name for name in free if free[name] == "done" and kept[name] != "done"} >= {
        "write the models", "write /tmp of others", "see a home", "see root's home",
        "make a file suid", "open fuse", "open a display", "talk over IP", "use netlink",
        "see others' processes", "make a user namespace", "change the personality",
    }  # fmt: skip


def test_it_is_nobody_and_has_nothing(inside):
    found = inside["kept"]
    assert found["uid"] != 0
    assert found["groups"] >= 2, "render and video"
    assert found["umask"] == "0077"
    assert found["no new privileges"] == "1"
    assert set(found["capabilities"]) == {"0000000000000000"}
    assert found["mode of the cache"] == "drwxr-x---"
    assert inside["free"]["left in /dev/shm"]
    assert not found["left in /dev/shm"]


def test_each_line_is_on(machine):
    """Every line of the sandbox makes the difference that is written here, with no other's help."""
    lines = [line for line in lines_of_the_unit() if line.split("=")[0] not in NO_SANDBOX]
    assert set(lines) == {*ALONE, *BESIDE, *OF_THE_WHOLE}
    proofs = {line: ("", name) for line, name in ALONE.items()} | BESIDE
    units, pairs = {}, {}
    for line, (other, name) in proofs.items():
        before = f"{ROOT_WITHOUT}\n{other}"
        without = next((unit for unit in units if units[unit] == before), f"without-{len(units)}")
        alone = f"alone-{len(units)}"
        units |= {without: before, alone: f"{before}\n{line}"}
        pairs[line] = without, alone, name
    found = probed(machine, units)
    off = {
        line: (name, found[without][name])
        for line, (without, alone, name) in pairs.items()
        if found[without][name] == found[alone][name]
    }
    assert off == {}
