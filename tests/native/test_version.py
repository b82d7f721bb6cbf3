"""Versions are read from bytes, known ones get their layout, all others are refused by name."""

from pathlib import Path

import pytest

from rkllmd.errors import Code, EngineError
from rkllmd.native.layouts import Layout
from rkllmd.native.quirks import QUIRKS, warnings_of
from rkllmd.native.version import VERSIONS, choose_layout, read_version


@pytest.mark.parametrize(
    ("content", "version"),
    [
        (b"\0\0RKLLM SDK (version: 1.3.1 | target: aarch64)\0", "1.3.1"),
        (b"x" * 100_000 + b"RKLLM SDK (version: 1.2.1b1 (abc@2025-05-02))", "1.2.1b1"),
        (b"RKLLM SDK (version: 1.2.3)", "1.2.3"),
        (b"RKLLM SDK (version: 9", None),
        (b"\x7fELF nothing here", None),
        (b"", None),
    ],
)
def test_version_is_found_in_the_bytes(tmp_path: Path, content: bytes, version: str | None) -> None:
    file = tmp_path / "librkllmrt.so"
    file.write_bytes(content)
    assert read_version(file) == version


def test_known_versions_have_their_layout() -> None:
    assert choose_layout("1.1.2") is Layout.V1_1
    assert choose_layout("1.2.2") is Layout.V1_2_1
    assert all(choose_layout(version) is layout for version, layout in VERSIONS.items())


@pytest.mark.parametrize(
    "version", ["1.0.0b", "1.0.1", "1.0.2b", "1.4.0", "2.0", "1.2.4", "1.3.1b1"]
)
def test_other_versions_are_refused_by_name(version: str) -> None:
    with pytest.raises(EngineError, match=version.replace(".", r"\.")) as caught:
        choose_layout(version)
    assert caught.value.code is Code.LOAD_FAILED


def test_no_version_is_refused_and_says_how_to_force_one() -> None:
    with pytest.raises(EngineError, match=r"engine\.layout"):
        choose_layout(None)


@pytest.mark.parametrize("version", [None, "1.4.0", "1.2.3"])
def test_a_forced_layout_comes_first(version: str | None) -> None:
    assert choose_layout(version, "1.3.0") is Layout.V1_3_0


def test_a_forced_layout_has_to_be_one() -> None:
    with pytest.raises(EngineError, match=r"1\.2\.1b1"):
        choose_layout("1.3.1", "1.3")


def test_quirks_name_known_versions_and_their_issue() -> None:
    for quirk in QUIRKS:
        assert set(quirk.versions) <= set(VERSIONS)
        assert quirk.source
    assert any("424" in warning for warning in warnings_of("1.2.3"))
    assert warnings_of("9.9") == ()
