"""The page of the first hour: what it shows can still be done, in the same order."""

from tests.daemon.household import ROOT
from tools.first_hour import commands, page


def test_the_hour_goes_as_the_page_says(boot):
    machine = boot()
    machine.run("cp /packages/rkllmd.deb /root/")
    told = page(machine, "a test", lambda _: None)
    assert commands(told) == commands((ROOT / "docs" / "first-hour.md").read_text())
    assert "My name is Nova." in told
    assert "My name is Juno." in told
