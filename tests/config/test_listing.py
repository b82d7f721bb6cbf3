"""The configuration file that is shipped, against the dataclasses."""

import dataclasses
from pathlib import Path

from rkllmd.config.listing import document
from rkllmd.config.loader import leaves, load
from rkllmd.config.settings import Config, Paths
from rkllmd.shape import field_docs

SHIPPED = Path(__file__).parents[2] / "etc" / "rkllmd.yaml"


def test_the_shipped_file_is_the_one_that_the_dataclasses_make() -> None:
    assert SHIPPED.read_text() == document(), "run: tools/config-doc > etc/rkllmd.yaml"


def test_the_shipped_file_sets_nothing() -> None:
    assert set(load(SHIPPED).sources.values()) == {"default"}


def test_with_every_comment_sign_removed_it_says_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "rkllmd.yaml"
    file.parent.mkdir()
    file.write_text(document().replace("  #", "  ").replace("   ", "  # "))
    loaded = load(file)
    assert loaded.config == load(tmp_path / "etc" / "rkllmd.yaml").config
    assert "default" not in loaded.sources.values()
    file.write_text("")
    assert loaded.config == load(file).config


def test_every_setting_has_a_docstring() -> None:
    for section in dataclasses.fields(Config):
        keys = getattr(Config(), section.name)
        assert set(field_docs(type(keys))) == {field.name for field in dataclasses.fields(keys)}


def test_what_differs_from_the_default_is_set(tmp_path: Path) -> None:
    installed = dataclasses.replace(
        Config(), paths=Paths(models=("/var/lib/rkllmd/models",), cache="/var/cache/rkllmd")
    )
    file = tmp_path / "rkllmd.yaml"
    file.write_text(document(installed))
    loaded = load(file)
    assert loaded.config.paths.models == ("/var/lib/rkllmd/models",)
    assert loaded.config.paths.cache == "/var/cache/rkllmd"
    changed = {key for key, source in loaded.sources.items() if source != "default"}
    assert changed == {"paths.models", "paths.cache"}
    assert len(list(leaves(Config()))) == len(loaded.sources)
