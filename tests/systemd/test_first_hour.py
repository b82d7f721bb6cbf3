"""The page of the first hour: what it shows can still be done, in the same order."""

import pytest

from tests.daemon.household import ROOT
from tools.first_hour import commands, page


@pytest.fixture
def machine(boot):
    """A machine with the package at hand, not installed."""
    machine = boot()
    machine.run("cp /packages/rkllmd.deb /root/")
    yield machine
    machine.close()


def test_the_hour_goes_as_the_page_says(machine):
    told = page(machine, "a test", lambda _: None)
    assert commands(told) == commands((ROOT / "docs" / "first-hour.md").read_text())
    assert "My name is Nova." in told
    assert "My name is Juno." in told
