"""The pages in docs/ name commands, settings and files that are there."""

import dataclasses
import re
from pathlib import Path

import pytest

from rkllmd.cli.ctl.program import parser
from rkllmd.config.settings import Config

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
SECTIONS = {
    field.name: {one.name for one in dataclasses.fields(getattr(Config(), field.name))}
    for field in dataclasses.fields(Config)
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_a_page_names_is_there(page):
    named = re.findall(r"`([a-z]+)\.([a-z_]+)`", page.read_text())
    wrong = {f"{section}.{name}" for section, name in named
             if section in SECTIONS and name not in {*SECTIONS[section], "sock"}}  # fmt: skip
    assert wrong == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_shows_can_be_typed(page):
    typed = re.findall(r"(?:`|(?m:^[#$] ))rkllmctl ([^`\n&]+)", page.read_text())
    for words in typed:
        arguments = [word.replace("MODEL", "m").replace("NAME", "n") for word in words.split()]
        parser().parse_args(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / link).exists(), link
