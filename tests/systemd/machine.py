"""Boots a Debian root with systemd as its first process, on a throw-away layer, without a network.

It needs root and systemd-nspawn, and no systemd on this machine. `--register=no --keep-unit`: there
is no machined to ask; instead commands enter the namespaces of the container's first process.

On a machine with cgroup v1 controllers each container gets a group of its own in every hierarchy,
which systemd inside may write to; otherwise it would accept limits and device rules in silence and
enforce none. The capabilities and system calls are those that its rules for devices and addresses
need. Commands run by `Machine.run` have this machine's rights: what the service may do is seen by
its own process only.
"""

import errno
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
HIERARCHIES = ("unified", "systemd", "memory", "pids", "cpu", "cpuacct", "devices")
SYSTEM_CALLS = "bpf keyctl landlock_create_ruleset landlock_add_rule landlock_restrict_self"
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
}
PROGRAMS = (
    "systemd-nspawn", "nsenter", "mmdebstrap", "dpkg-buildpackage", "go-md2man", "lintian",
)  # fmt: skip
BOOT_SECONDS = 60


class Machine:
    """A booted root; `close` powers it off and leaves nothing behind."""

    def __init__(self, name: str, root: Path, log: Path, *arguments: str) -> None:
        """Boot, and wait until systemd says that it is running."""
        self.name = name
        self.leader: int | None = None
        self.groups = list(_own_groups(name))
        writable = [
            f"/sys/fs/cgroup/{group.relative_to(CGROUPS).parts[0]}"
            for group in self.groups
            if group.relative_to(CGROUPS).parts[0] not in {"unified", "systemd"}
        ]
        start = "; ".join([
            *(f"mount -o remount,rw,bind {path}" for path in writable),
            "exec /lib/systemd/systemd",
        ])  # fmt: skip
        nspawn = [
            "systemd-nspawn", "--quiet", f"--directory={root}", f"--machine={name}",
            "--register=no", "--keep-unit", "--console=pipe", "--volatile=overlay",
            "--private-network", "--capability=CAP_BPF,CAP_NET_ADMIN",
            f"--system-call-filter={SYSTEM_CALLS}", *arguments, "/bin/sh", "-c", start,
        ]  # fmt: skip
        enter = "; ".join([
            *(f"echo $$ >{group}/cgroup.procs" for group in self.groups),
            f"exec {shlex.join(nspawn)}",
        ])  # fmt: skip
        with log.open("wb") as output:
            self.nspawn = subprocess.Popen(
                ["/bin/sh", "-ec", enter],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"PATH": ENVIRONMENT["PATH"]},
            )
        try:
            self.leader = self._wait_for_leader(log)
            state = self._wait_until_up()
            assert state == "running", f"{state}:\n{self.run('systemctl --failed', check=False)}"
        except BaseException:
            self.close()
            raise

    def start(self, command: str) -> subprocess.Popen[str]:
        """A shell command in the machine."""
        return subprocess.Popen(
            ["nsenter", "-t", str(self.leader), "-a", "/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=ENVIRONMENT,
        )

    def run(self, command: str, *, check: bool = True, timeout: float = 120) -> str:
        """What a shell command in the machine prints."""
        with self.start(command) as process:
            try:
                printed = process.communicate(timeout=timeout)[0].strip()
            except BaseException:
                process.kill()
                raise
        if check:
            assert process.returncode == 0, f"{command}: status {process.returncode}\n{printed}"
        return printed

    def write(self, path: str, text: str) -> None:
        """Write a file in the machine."""
        with self.start(f"mkdir -p {Path(path).parent} && cat >{path}") as process:
            process.communicate(text)
        assert process.returncode == 0, path

    def close(self) -> None:
        """Power off."""
        if self.leader is not None and self.nspawn.poll() is None:
            self.run("systemctl --no-block poweroff", check=False)
        try:
            self.nspawn.wait(15)
        except subprocess.TimeoutExpired:
            if self.leader is not None:
                os.kill(self.leader, signal.SIGKILL)
            self.nspawn.kill()
            self.nspawn.wait()
        for group in self.groups:
            for path, _, _ in os.walk(group, topdown=False):
                _remove_group(Path(path))

    def _wait_for_leader(self, log: Path) -> int:
        children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children")
        for _ in _tries():
            assert self.nspawn.poll() is None, log.read_text()
            found = children.read_text().split()
            if found and Path(f"/proc/{found[0]}/root/run/systemd/private").exists():
                return int(found[0])
        raise TimeoutError(log.read_text())

    def _wait_until_up(self) -> str:
        bus = Path(f"/proc/{self.leader}/root/run/dbus/system_bus_socket")
        any(bus.exists() for _ in _tries())
        return self.run("systemctl is-system-running --wait", check=False)


def why_not(*programs: str) -> str | None:
    """Why this machine cannot boot roots, or lacks a program; None when it can."""
    if os.geteuid() != 0:
        return "only root can boot a container"
    missing = [name for name in (*PROGRAMS, *programs) if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


def _tries() -> Iterator[None]:
    end = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < end:
        yield
        time.sleep(0.1)


def _remove_group(path: Path) -> None:
    """Remove a group, whose last processes the kernel may still be letting go of."""
    for _ in _tries():
        try:
            path.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
        else:
            return
    raise TimeoutError(f"{path} is still in use")


def _own_groups(name: str) -> Iterator[Path]:
    """A new control group below ours, in each hierarchy that is there."""
    ours = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for one in names.removeprefix("name=").split(","):
            ours[one or "unified"] = path
    for hierarchy in HIERARCHIES:
        if hierarchy in ours and (CGROUPS / hierarchy).is_dir():
            group = CGROUPS / hierarchy / ours[hierarchy].lstrip("/") / name
            group.mkdir(exist_ok=True)
            yield group
