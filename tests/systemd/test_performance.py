"""The unit for the CPU's clocks, on a tree of governors that stands in for a board's: a container
has the clocks of its host, or none."""

import pytest

from tests.systemd.conftest import ROOT

UNIT = "rkllmd-performance.service"
CPUFREQ = "/sys/devices/system/cpu/cpufreq"
GOVERNORS = {"policy0": "schedutil", "policy4": "ondemand"}


@pytest.fixture(scope="module")
def machine(boot):
    """A machine with the unit."""
    machine = boot()
    machine.write(f"/etc/systemd/system/{UNIT}", (ROOT / "systemd" / UNIT).read_text())
    machine.run("systemctl daemon-reload && mount -t tmpfs cpu /sys/devices/system/cpu")
    yield machine
    machine.close()


@pytest.fixture
def governors(machine):
    """What the governors are; before the test, those of a board with two clusters."""
    for policy, governor in GOVERNORS.items():
        machine.write(f"{CPUFREQ}/{policy}/scaling_governor", f"{governor}\n")

    def are():
        return {
            policy: machine.run(f"cat {CPUFREQ}/{policy}/scaling_governor") for policy in GOVERNORS
        }

    yield are
    machine.run(f"systemctl stop {UNIT}; systemctl reset-failed; rm -r {CPUFREQ}")


def test_it_sets_the_governors_and_puts_them_back(machine, governors):
    machine.run(f"systemctl start {UNIT}")
    assert governors() == {"policy0": "performance", "policy4": "performance"}
    machine.run(f"systemctl restart {UNIT}")
    assert governors() == {"policy0": "performance", "policy4": "performance"}
    machine.run(f"systemctl stop {UNIT}")
    assert governors() == GOVERNORS
    assert machine.run(f"systemctl show {UNIT} -p Result --value") == "success"


def test_where_a_cluster_refuses_all_are_put_back(machine, governors):
    machine.run(f"chmod 444 {CPUFREQ}/policy4/scaling_governor")
    assert "failed" in machine.run(f"systemctl start {UNIT}", check=False)
    assert governors() == GOVERNORS
    assert "policy4" in machine.run(f"journalctl -b -o cat -u {UNIT}")


def test_without_clocks_it_does_nothing(machine):
    machine.run(f"systemctl start {UNIT}")
    shown = machine.run(f"systemctl show {UNIT} -p ConditionResult -p ActiveState")
    assert shown.splitlines() == ["ActiveState=inactive", "ConditionResult=no"]


def test_it_is_exposed_little(machine):
    machine.run(f"systemd-analyze security --threshold=20 {UNIT}")
