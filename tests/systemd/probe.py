"""Run in a unit: tries what the service needs, and what it must not do, and prints what came of it.

Each is tried in a child of its own, so none changes what the next one finds. The result is JSON:
`done` for what succeeded, else the name of the error, or of the signal that ended it. Beside the
tries are facts that the kernel tells of this process. The argument is the unit's name.
"""

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import stat
import sys
import time
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNET, PTRACE_SEIZE = 0x10000000, 0x40000000, 0x4206
SYS_PERF_EVENT_OPEN, SYS_BPF, SYS_KEXEC_LOAD = 298, 321, 246
NAME = sys.argv[1]


def c(name, *arguments):
    """Call a C function that returns -1 and errno."""
    if getattr(LIBC, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def write(path):
    os.close(os.open(path, os.O_WRONLY))


def create(folder):
    path = Path(folder, f"probe-{NAME}")
    path.write_text("probe")
    path.unlink()


def make_a_control_group():
    path = Path("/sys/fs/cgroup/systemd", f"probe-{NAME}")
    path.mkdir()
    path.rmdir()


def suid():
    path = Path(f"/var/cache/rkllmd/probe-{NAME}")
    path.write_text("")
    try:
        path.chmod(0o755 | stat.S_ISUID)
    finally:
        path.unlink()


def make_a_device():
    path = Path(f"/var/cache/rkllmd/probe-{NAME}")
    os.mknod(path, stat.S_IFCHR, os.makedev(1, 3))
    path.unlink()


def see_others():
    """A process of another user."""
    seen = [path for path in Path("/proc").iterdir() if path.name.isdecimal()]
    if all(path.stat().st_uid == os.getuid() for path in seen):
        raise ProcessLookupError(errno.ESRCH, "there are none")


def talk_over_ip():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as talk:
        talk.sendto(b"", ("127.0.0.1", 9))


def run_in_real_time():
    """With a priority that the kernel refuses, so that it is heard who refuses first."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(0))


TRIES = {
    # What it needs.
    "write the cache": lambda: create("/var/cache/rkllmd"),
    "read the models": lambda: list(Path("/var/lib/rkllmd/models").iterdir()),
    "read the configuration": lambda: Path("/etc/rkllmd/rkllmd.yaml").read_text(),
    "see the free memory": lambda: Path("/proc/meminfo").read_text(),
    "bind threads to cores": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "use a Unix socket": socket.socketpair,
    "open the NPU": lambda: os.open("/dev/rknpu", os.O_RDWR),
    "open a render node": lambda: write("/dev/dri/renderD128"),
    "open a heap": lambda: write("/dev/dma_heap/system"),
    # Files.
    "write the models": lambda: create("/var/lib/rkllmd/models"),
    "write the configuration": lambda: write("/etc/rkllmd/rkllmd.yaml"),
    "write the system": lambda: create("/usr/lib"),
    "write /tmp of others": lambda: write("/tmp/of-others"),
    "see a home": lambda: Path("/home/someone").stat(),
    "see root's home": lambda: Path("/root/.profile").stat(),
    "see the kernel's modules": lambda: Path("/usr/lib/modules/one").stat(),
    "make a file suid": suid,
    # Devices.
    "open the kernel's log": lambda: os.open("/dev/kmsg", os.O_RDONLY),
    "open fuse": lambda: os.open("/dev/fuse", os.O_RDWR),
    "open a display": lambda: write("/dev/dri/card0"),
    "make a device": make_a_device,
    # Network.
    "talk over IP": talk_over_ip,
    "use netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "see packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    # The kernel and other processes.
    "see others' processes": see_others,
    "signal others": lambda: os.kill(1, signal.SIGCONT),
    "change a tunable": lambda: write("/proc/sys/net/core/somaxconn"),
    "make a control group": make_a_control_group,
    "set the host name": lambda: socket.sethostname(socket.gethostname()),
    "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "become root": lambda: os.setuid(0),
    "make a user namespace": lambda: c("unshare", CLONE_NEWUSER),
    "make a network namespace": lambda: c("unshare", CLONE_NEWNET),
    "mount": lambda: c("mount", b"none", b"/nowhere", b"none", 0, None),
    "change the personality": lambda: c("personality", 0x0008),
    "run in real time": run_in_real_time,
    "load a kernel": lambda: c("syscall", SYS_KEXEC_LOAD, 0, 0, None, 0),
    "use bpf": lambda: c("syscall", SYS_BPF, 0, None, 0),
    "watch performance": lambda: c("syscall", SYS_PERF_EVENT_OPEN, None, 0, -1, -1, 0),
    "change the root": lambda: os.chroot("/"),
    "trace others": lambda: c("ptrace", PTRACE_SEIZE, 1, None, None),
}


def result(attempt):
    """What came of it."""
    child = os.fork()
    if child == 0:
        number = 0
        try:
            attempt()
        except OSError as error:
            number = error.errno
        os._exit(number)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status < 0:
        return signal.Signals(-status).name
    return errno.errorcode[status] if status else "done"


def facts():
    """What the kernel says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    said = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    sets = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    return {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": len(os.getgroups()),
        "umask": said["Umask"],
        "open files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "mode of the cache": stat.filemode(Path("/var/cache/rkllmd").stat().st_mode),
        "no new privileges": said["NoNewPrivs"],
        "capabilities": [said[name] for name in sets],
        "filters": said["Seccomp_filters"],
        "network": os.readlink("/proc/self/ns/net"),
        "messages": os.readlink("/proc/self/ns/ipc"),
    }


def main():
    found = facts() | {name: result(attempt) for name, attempt in TRIES.items()}
    Path("/dev/shm", NAME).touch()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
