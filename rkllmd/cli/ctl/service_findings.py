"""What the doctor makes of what systemd, the kernel and the daemon say of the service."""

from collections.abc import Iterator, Mapping
from typing import Any

from rkllmd.cli.ctl.findings import Finding
from rkllmd.client import ConnectionLost, DaemonError

FILES_MIN = 4096
JOURNAL = "journalctl -u rkllmd -e"
DROP_IN = "/etc/systemd/system/rkllmd.service.d"
MORE_FILES = (
    f"mkdir -p {DROP_IN} && printf '[Service]\\nLimitNOFILE=65536\\n' >{DROP_IN}/files.conf"
    " && systemctl daemon-reload && systemctl restart rkllmd"
)


def unit(name: str, said: str) -> Finding:
    """A unit, by its LoadState and ActiveState."""
    match said.split():
        case [loaded, active] if loaded != "not-found":
            if active == "failed":
                remedy = f"systemctl reset-failed {name} && systemctl start {name}; {JOURNAL}"
                return Finding("units", "problem", f"{name} has failed", remedy)
            if active == "inactive":
                remedy = f"systemctl start {name}"
                return Finding("units", "problem", f"{name} is not running", remedy)
            return Finding("units", "ok", f"{name} is {active}")
        case _:
            return Finding("units", "ok", f"{name} is not installed")


def silent(name: str) -> Finding:
    """A unit that systemd says nothing of in time."""
    remedy = "systemctl --failed; journalctl -b -e"
    return Finding("units", "problem", f"systemd does not say how {name} is", remedy)


def open_files(limits: str) -> Iterator[Finding]:
    """How many files the daemon may have open, by its /proc/PID/limits."""
    lines = limits.splitlines()
    files = next((line.split()[3] for line in lines if line.startswith("Max open files")), "")
    if files.isdecimal() and int(files) < FILES_MIN:
        yield Finding(
            "open files", "warning", f"the daemon may have {files} files open",
            MORE_FILES,
        )  # fmt: skip
    elif files:
        yield Finding("open files", "ok", f"the daemon may have {files} files open")


def unreachable(error: ConnectionLost, user: str, group: str) -> Finding:
    """A daemon that could not be asked, by what kept us from it."""
    match error.__cause__:
        case PermissionError():
            remedy = f"sudo usermod -aG {group} {user}, and log in again"
        case FileNotFoundError() | ConnectionRefusedError():
            remedy = "systemctl start rkllmd"
        case _:  # it hangs, has left, or is something else
            remedy = f"systemctl restart rkllmd; {JOURNAL}"
    return Finding("daemon", "problem", str(error), remedy)


def refused(about: str, error: DaemonError) -> Finding:
    """A daemon that answered with an error."""
    return Finding(about, "problem", str(error), f"{error.hint} {JOURNAL}")


def status(told: Mapping[str, Any]) -> Iterator[Finding]:
    """What the daemon says of itself, its models and its caches."""
    said = f"version {told['version']}, {told['state']}"
    if told["ready"]:
        yield Finding("daemon", "ok", said)
    else:
        said += f": {told['building']}" if told["building"] else ""
        yield Finding("daemon", "warning", said, "rkllmctl wait")
    for note in told["notes"]:
        yield Finding("daemon", "warning", note, "rkllmctl status")
    for model in told["models"]:
        name, state = model["name"], model["state"]
        if state in {"failed", "broken"}:
            yield Finding(
                f"model {name}", "problem", f"{state}: {model['reason']}",
                f"rkllmctl model load {name}, once that is mended; {JOURNAL}",
            )  # fmt: skip
    for cache in told["caches"]:
        about = f"cache {cache['model']} {cache['name']}"
        said = ": ".join(filter(None, (cache["state"], cache["reason"])))
        build = f"rkllmctl cache build {cache['model']} {cache['name']} --force"
        match cache["state"]:
            case "verified":
                yield Finding(about, "ok", said)
            case "broken" | "quarantined":
                yield Finding(about, "problem", said, build)
            case _:
                yield Finding(about, "warning", said, build)


def canary(done: Mapping[str, Any]) -> Finding:
    """One short answer."""
    first = done["timing"]["ttft_ms"]
    cached = "with" if done["usage"]["cache_hit"] else "without"
    reason = f"{done['model']} answered after {first} ms, {cached} its cache"
    return Finding("canary", "ok", reason)
