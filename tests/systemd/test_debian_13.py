"""The same package on the next Debian, with its newer systemd, Python and libraries."""

import pytest


@pytest.fixture(scope="module")
def machine(boot):
    """A machine with the package installed."""
    machine = boot(suite="trixie")
    machine.run("apt-get install -y -qq /packages/rkllmd.deb")
    yield machine
    machine.close()


def test_it_starts_and_answers(machine):
    assert machine.run("systemctl is-active rkllmd.socket rkllmd").split() == ["active"] * 2
    assert '"state": "verified"' in machine.run("rkllmctl call cache.list")
    assert machine.run("rkllmctl ask 'What is your name?'")


def test_the_units_have_nothing_to_be_said_against(machine):
    units = "rkllmd.socket rkllmd-http.socket rkllmd-wyoming.socket rkllmd.service"
    units += " rkllmd-performance.service"
    assert machine.run(f"systemd-analyze verify --man=no {units}") == ""
    machine.run("systemd-analyze security --threshold=20 rkllmd.service")


def test_it_reloads_and_goes(machine):
    machine.run("systemctl reload rkllmd")
    machine.run("apt-get purge -y -qq rkllmd")
    assert machine.run("systemctl --failed --no-legend") == ""
