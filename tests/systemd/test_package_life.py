"""Installing, upgrading, going back, removing, purging: what stays, what goes, and who waits."""

import json

import pytest

from tests.systemd.conftest import NEXT_VERSION
from tests.systemd.waiting import until

INSTALL = "apt-get install -y -qq --allow-downgrades /packages"
FILES = "find / -xdev ! -path '/proc/*' ! -path '/sys/*' ! -path '/packages*' | sort"
NOT_OURS = (
    "/var/lib/dpkg", "/var/log/apt", "/var/log/dpkg.log", "/var/log/journal", "/var/cache/apt",
    "/var/cache/debconf", "/var/cache/ldconfig", "/var/lib/apt", "/var/lib/systemd/timers", "/run",
    "/tmp", "/var/tmp", "/etc/.pwd.lock", "/dev",
)  # fmt: skip
BACKUPS = {"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-"}
OF_THE_SYSTEM = {
    "accounts": "getent passwd | cut -d: -f1; getent group | cut -d: -f1,4 | sed 's/^/group /'",
    "unit files": "systemctl list-unit-files --no-legend",
    "units": "systemctl list-units --all --no-legend --plain 'rkllmd*'",
    "of the runtime": "ls -d /run/rkllmd* || true",
    "processes": "stat -c %U /proc/[0-9]* | grep -x rkllmd || true",
}
"""What is asked of the system before the package came and after it went."""
THE_ACCOUNT = {"rkllmd", "group rkllmd:", "group render:rkllmd", "group video:rkllmd"}
"""A package's user stays on its system: files may still be its own."""
CONFIG, PROMPT = "/etc/rkllmd/rkllmd.yaml", "/etc/rkllmd/config/system.txt"
MODEL = "/var/lib/rkllmd/models/mine"


@pytest.fixture
def machine(boot):
    """A machine without the package."""
    machine = boot()
    yield machine
    machine.close()


def files(machine):
    """What is on the disk, but for what the system writes by itself."""
    found = machine.run(FILES).splitlines()
    return {path for path in found if not path.startswith(NOT_OURS)} - BACKUPS


def system(machine):
    """What else a package may leave."""
    return {name: set(machine.run(ask).splitlines()) for name, ask in OF_THE_SYSTEM.items()}


def pid(machine):
    return int(machine.run("systemctl show rkllmd -p MainPID --value"))


def built(machine):
    """How many times a cache was built since the boot."""
    return machine.run("journalctl -b -u rkllmd -o cat").count("built tiny-assistant/system")


def test_an_upgrade_keeps_clients_and_settings_and_caches(machine):
    machine.run(f"{INSTALL}/rkllmd.deb")
    machine.run(f"echo '# mine' >>{CONFIG} && echo 'You are Mia.' >{PROMPT}")
    show = "rkllmctl call cache.show model=tiny-assistant name=system"
    until(lambda: "Mia" in json.loads(machine.run(show))["caches"][0]["content"])
    socket, before, builds = (
        machine.run("stat -c %i /run/rkllmd/rkllmd.sock"),
        pid(machine),
        built(machine),
    )
    with machine.start(f"{INSTALL}/next.deb") as upgrading:
        answers = 0
        while upgrading.poll() is None:
            said = machine.run("rkllmctl status", check=False)
            # Who comes in the moment of the stop is told so, and to connect again.
            assert said.startswith("rkllmd ") or "the service is stopping" in said, said
            answers += 1
        assert upgrading.returncode == 0, upgrading.stdout.read()
    assert answers > 1
    assert machine.run("dpkg-query -W -f '${Version}' rkllmd") == NEXT_VERSION
    assert pid(machine) not in {0, before}
    assert machine.run("stat -c %i /run/rkllmd/rkllmd.sock") == socket
    assert machine.run(f"tail -1 {CONFIG}; cat {PROMPT}") == "# mine\nYou are Mia."
    assert built(machine) == builds
    assert machine.run("rkllmctl ask 'What is your name?'")


def test_going_back_works_and_keeps_the_caches(machine):
    machine.run(f"{INSTALL}/next.deb")
    machine.run(f"{INSTALL}/rkllmd.deb")
    assert machine.run("rkllmctl ask 'What is your name?'")
    assert machine.run("systemctl is-active rkllmd.socket rkllmd").split() == ["active"] * 2
    assert built(machine) == 1


def test_remove_and_purge_and_install_again(machine):
    before = files(machine)
    machine.run(f"{INSTALL}/rkllmd.deb")
    machine.run(f"mkdir {MODEL} && echo precious >{MODEL}/mine.rkllm && echo '# mine' >>{CONFIG}")
    machine.run("apt-get remove -y -qq rkllmd")
    units = machine.run("systemctl is-active rkllmd rkllmd.socket", check=False)
    assert units.split() == ["inactive"] * 2
    assert machine.run("ls /run/rkllmd/rkllmd.sock", check=False).endswith(
        "No such file or directory"
    )
    assert machine.run(f"cat {MODEL}/mine.rkllm; tail -1 {CONFIG}") == "precious\n# mine"
    machine.run(f"{INSTALL}/rkllmd.deb")
    assert machine.run(f"tail -1 {CONFIG}") == "# mine"
    assert built(machine) == 1
    machine.run("apt-get purge -y -qq rkllmd")
    left = files(machine) - before
    assert left == {"/var/lib/rkllmd", "/var/lib/rkllmd/models", MODEL, f"{MODEL}/mine.rkllm"}
    assert machine.run("systemctl --failed --no-legend") == ""
    machine.run(f"{INSTALL}/rkllmd.deb")
    assert machine.run("rkllmctl ask --model tiny-assistant 'What is your name?'")
    for name in ("rkllmd.yaml", "config/system.txt"):
        assert "mine" not in machine.run(f"cat /etc/rkllmd/{name}")


def test_purge_without_models_leaves_nothing_but_the_account(machine):
    before, also_before = files(machine), system(machine)
    machine.run(f"{INSTALL}/rkllmd.deb")
    there = system(machine)
    assert [name for name in there if there[name] <= also_before[name]] == []
    machine.run("apt-get purge -y -qq rkllmd")
    assert files(machine) ^ before == set()
    left = {name: found - also_before[name] for name, found in system(machine).items()}
    assert {name: found for name, found in left.items() if found} == {"accounts": THE_ACCOUNT}
