"""Run in the service's sandbox: tries what the service must not do, and prints what came of it.

The result is JSON: `done` for what succeeded, else the error's name.
"""

import ctypes
import errno
import json
import os
import signal
import socket
import stat
import sys
import time
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNET, MS_BIND = 0x10000000, 0x40000000, 4096
SYS_PERF_EVENT_OPEN, SYS_BPF, SYS_KEXEC_LOAD = 298, 321, 246


def c(name, *arguments):
    """Call a C function that returns -1 and errno."""
    if getattr(LIBC, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def write(path):
    os.close(os.open(path, os.O_WRONLY))


def create(path):
    Path(path).write_text("probe")
    Path(path).unlink()


def suid():
    path = Path("/var/cache/rkllmd/probe")
    path.write_text("")
    try:
        path.chmod(0o755 | stat.S_ISUID)
    finally:
        path.unlink()


def see_the_first_process():
    Path("/proc/1/status").read_text()


TRIES = {
    # What it needs.
    "write the cache": lambda: create("/var/cache/rkllmd/probe"),
    "read the models": lambda: list(Path("/var/lib/rkllmd/models").iterdir()),
    "read the configuration": lambda: Path("/etc/rkllmd/rkllmd.yaml").read_text(),
    "see the free memory": lambda: Path("/proc/meminfo").read_text(),
    "bind threads to cores": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "use a Unix socket": socket.socketpair,
    "open the NPU": lambda: os.open("/dev/rknpu", os.O_RDWR),
    # Files.
    "write the models": lambda: create("/var/lib/rkllmd/models/probe"),
    "write the configuration": lambda: write("/etc/rkllmd/rkllmd.yaml"),
    "write the system": lambda: create("/usr/lib/probe"),
    "write /tmp of others": lambda: Path("/tmp/of-others").read_text(),
    "read a home": lambda: next(Path("/home").iterdir()),
    "read root's home": lambda: list(Path("/root").iterdir()),
    "make a file suid": suid,
    # Devices.
    "open the kernel's log": lambda: os.open("/dev/kmsg", os.O_RDONLY),
    "open fuse": lambda: os.open("/dev/fuse", os.O_RDWR),
    "make a device": lambda: os.mknod("/var/cache/rkllmd/null", stat.S_IFCHR, os.makedev(1, 3)),
    # Network.
    "use the internet": lambda: socket.socket(socket.AF_INET),
    "use netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "see packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    # The kernel and other processes.
    "see others' processes": see_the_first_process,
    "signal others": lambda: os.kill(1, signal.SIGCONT),
    "change a tunable": lambda: write("/proc/sys/kernel/hostname"),
    "write a control group": lambda: create("/sys/fs/cgroup/systemd/probe"),
    "set the host name": lambda: socket.sethostname("probe"),
    "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "become root": lambda: os.setuid(0),
    "make a user namespace": lambda: c("unshare", CLONE_NEWUSER),
    "make a network namespace": lambda: c("unshare", CLONE_NEWNET),
    "mount": lambda: c("mount", b"/usr", b"/var/cache/rkllmd", None, MS_BIND, None),
    "change the personality": lambda: c("personality", 0x0008),
    "run in real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "load a kernel": lambda: c("syscall", SYS_KEXEC_LOAD, 0, 0, None, 0),
    "use bpf": lambda: c("syscall", SYS_BPF, 0, None, 0),
    "watch performance": lambda: c("syscall", SYS_PERF_EVENT_OPEN, None, 0, -1, -1, 0),
    "change the root": lambda: os.chroot("/"),
    "trace others": lambda: c("ptrace", 16, os.getppid(), None, None),
}


def result(attempt):
    """What came of it."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno, "?")
    return "done"


def status():
    """What the kernel says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def main():
    said = status()
    net = Path("/proc/self/net/dev").read_text().splitlines()
    sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    facts = {
        "uid": os.getuid(),
        "groups": len(os.getgroups()),
        "umask": said["Umask"],
        "no new privileges": said["NoNewPrivs"],
        "capabilities": sorted({said[name] for name in sets}),
        "filters": said["Seccomp"],
        "interfaces": [line.split(":")[0].strip() for line in net[2:]],
    }
    print(json.dumps({"facts": facts, "tries": {k: result(v) for k, v in TRIES.items()}}))


if __name__ == "__main__":
    sys.exit(main())
