"""The manual says what the tables say, and so does what was written by hand."""

import re

from rkllmd.cli import daemon
from rkllmd.errors import Code
from rkllmd.protocol.codec import EVENTS, OPERATIONS
from tests.daemon.household import ROOT
from tools.man_pages import rkllmctl, rkllmd_protocol

MAN = ROOT / "docs" / "man"


def test_the_page_of_rkllmctl_is_what_its_table_makes():
    wanted = "`python -m tools.man_pages rkllmctl.1 >docs/man/rkllmctl.1.md`"
    assert (MAN / "rkllmctl.1.md").read_text() == rkllmctl(), f"out of date; run {wanted}"


def test_the_protocol_page_has_every_operation_event_and_code():
    text = rkllmd_protocol()
    missing = [word for word in (*OPERATIONS, *EVENTS, *Code) if f"{word} " not in f"{text} "
               and f"{word}\n" not in text]  # fmt: skip
    assert missing == []


def test_the_daemon_page_has_every_option():
    told = set(re.findall(r"^\*\*(--[a-z-]+)\*\*", (MAN / "rkllmd.8.md").read_text(), re.MULTILINE))
    there = {name for action in daemon._parser()._actions for name in action.option_strings}
    assert told == {name for name in there if name.startswith("--")} - {"--help"}


def test_the_package_has_every_page():
    installed = (ROOT / "debian" / "rkllmd.manpages").read_text()
    for page in MAN.glob("*.md"):
        assert page.name.removesuffix(".md") in installed
