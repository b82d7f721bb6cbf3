"""Where prompts come from, which one counts, and what is passed over with a warning."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rkllmd.ids import NAME_RULE, ModelName
from rkllmd.registry.prompts import Prompts, scan_prompts
from tests.registry.conftest import without_rights

QWEN, TINY = ModelName("qwen"), ModelName("tiny")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    for folder in ["prompts", "models/qwen"]:
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def look(config: Path) -> Prompts:
    return scan_prompts(config, [QWEN, TINY])


def texts(prompts: Prompts, model: ModelName) -> dict[str, str]:
    return {name: prompt.text for name, prompt in prompts.of(model).items()}


def test_a_models_own_prompt_takes_the_place_of_the_common_one(config: Path) -> None:
    (config / "system.txt").write_text("You help.\n")
    (config / "prompts" / "lights.txt").write_text("Lights.")
    (config / "models" / "qwen" / "system.txt").write_text("You help, Qwen.")
    (config / "models" / "qwen" / "extra.txt").write_text("More.")
    found = look(config)
    assert found.warnings == ()
    assert texts(found, TINY) == {"lights": "Lights.", "system": "You help."}
    assert texts(found, QWEN) == {
        "extra": "More.",
        "lights": "Lights.",
        "system": "You help, Qwen.",
    }
    assert found.of(QWEN)[next(iter(found.of(QWEN)))].source == config / "models/qwen/extra.txt"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (b"a\n", "a"),
        (b"a\n\n", "a\n"),
        (b"a\r\nb\r\n", "a\nb"),
        (b"\xef\xbb\xbfa", "a"),
        (b" a ", " a "),
        ("ä𝄞".encode(), "ä𝄞"),
        (b"x" * (1 << 20), "x" * (1 << 20)),
    ],
)
def test_one_line_end_at_the_end_is_taken_off_and_the_rest_kept(
    config: Path, written: bytes, text: str
) -> None:
    (config / "system.txt").write_bytes(written)
    assert texts(look(config), TINY) == {"system": text}


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        (b"", "not used, it is empty"),
        (b" \n\r\n", "not used, it is empty"),
        (b"a\0b", "not used, it has a NUL character"),
        (b"x" * ((1 << 20) + 1), "cannot be read: it is longer than 1048576 bytes"),
    ],
)
def test_a_text_that_cannot_be_used_counts_as_not_there(
    config: Path, written: bytes, reason: str
) -> None:
    (config / "system.txt").write_text("common")
    own = config / "models" / "qwen" / "system.txt"
    own.write_bytes(written)
    found = look(config)
    assert found.warnings == (f"{own}: {reason}",)
    assert texts(found, QWEN) == {"system": "common"}


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda file: file.write_bytes(b"tw\xf6"), ":1: found bytes that are no UTF-8"),
        (lambda file: file.write_bytes(b"a\0"), ": not used, it has a NUL character"),
        (lambda file: (file.unlink(), file.mkdir()), ": cannot be read: it is no regular file"),
        (
            lambda file: (file.unlink(), file.symlink_to("nowhere")),
            ": cannot be read: No such file or directory",
        ),
    ],
)
def test_a_text_that_is_spoilt_goes_on_as_it_was(
    config: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    file = config / "system.txt"
    file.write_text("You help.")
    before = look(config)
    spoil(file)
    anew, after = look(config), scan_prompts(config, [QWEN, TINY], before)
    assert (texts(anew, TINY), anew.warnings) == ({}, (f"{file}{reason}",))
    assert texts(after, TINY) == {"system": "You help."}
    assert after.warnings == (f"{file}{reason}; it goes on as it was",)
    file.rmdir() if file.is_dir() else file.unlink()
    gone = scan_prompts(config, [QWEN, TINY], after)
    assert (texts(gone, TINY), gone.warnings) == ({}, ())


def test_a_folder_that_is_away_takes_no_prompt(config: Path) -> None:
    (config / "system.txt").write_text("You help.")
    before = look(config)
    config.rename(config.with_name("away"))
    after = scan_prompts(config, [QWEN, TINY], before)
    assert (texts(after, TINY), after.complete) == ({"system": "You help."}, False)
    assert after.warnings == (
        f"{config}: it cannot be looked into; its prompts go on as they were",
    )


def test_what_lies_in_a_closed_folder_may_be_a_prompt(open_folder: Path) -> None:
    home = open_folder / "home"
    (home / "config").mkdir(parents=True)
    (home / "config" / "system.txt").write_text("You help.")
    before = look(home / "config")
    home.chmod(0o000)
    with without_rights():
        anew, after = look(home / "config"), scan_prompts(home / "config", [TINY], before)
    home.chmod(0o700)
    assert (texts(anew, TINY), anew.complete) == ({}, False)
    assert (texts(after, TINY), after.complete) == ({"system": "You help."}, False)


def test_what_is_no_prompt_gets_a_warning(config: Path) -> None:
    (config / "prompts" / "bad name.txt").write_text("x")
    (config / "prompts" / "system.txt").write_text("x")
    (config / "prompts" / "folder.txt").mkdir()
    (config / "prompts" / "gone.txt").symlink_to("nowhere")
    (config / "prompts" / "latin.txt").write_bytes(b"one\ntw\xf6\n")
    os.mkfifo(config / "prompts" / "pipe.txt")
    (config / "prompts" / ".hidden.txt").write_text("x")
    (config / "prompts" / "notes.md").write_text("x")
    (config / "prompts" / "edited.txt~").write_text("x")
    (config / "models" / "other").mkdir()
    found = look(config)
    assert texts(found, QWEN) == texts(found, TINY) == {}
    assert [warning.replace(str(config), "C") for warning in found.warnings] == [
        f"C/prompts: 'bad name' is not used, a prompt's name has {NAME_RULE}",
        "C/prompts/folder.txt: cannot be read: it is no regular file",
        "C/prompts/gone.txt: cannot be read: No such file or directory",
        "C/prompts/latin.txt:2: found bytes that are no UTF-8",
        "C/prompts/pipe.txt: cannot be read: it is no regular file",
        "C/prompts/system.txt: not used, that prompt is system.txt",
        "C/models: 'other' is not used, no model has this name",
    ]


def test_no_folder_at_all_is_no_prompts(tmp_path: Path) -> None:
    found = look(tmp_path / "none")
    assert (texts(found, QWEN), found.warnings) == ({}, ())
    (tmp_path / "file").write_text("x")
    warnings = look(tmp_path / "file").warnings
    assert {warning.split(": ")[-1] for warning in warnings} == {"Not a directory"}
