"""YAML that means more, less or something else than it shows; and YAML that is none."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.config.document import BYTES_MAX, DEPTH_MAX, ConfigError, fit, parse, read_text
from rkllmd.config.settings import Config, ModelSettings


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("False", "False"),
        ("no", "no"),
        ("on", "on"),
        ("null", None),
        ("~", None),
        ("", None),
        ("''", ""),
        ("'1'", "1"),
        ("0", 0),
        ("-12", -12),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("0660", "0660"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("=", "="),
        ("9" * 200, "9" * 200),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("[1, [a]]", [1, ["a"]]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)
def test_plain_values_mean_what_they_show(written: str, value: Any) -> None:
    found = parse(f"key: {written}", "F").data["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a: 1\nb:\n  a: 1\n  a: 2",
            "F:4:3: b.a: found again, allowed: once; the first is at F:3:3",
        ),
        ("a: &x 1", "F:1:4: found an anchor or alias"),
        ("a: *x", "F:1:4: found an anchor or alias"),
        ("a: !!python/object/apply:os.system [ls]", "F:1:4: found a tag"),
        ("a: !!str 5", "F:1:4: found a tag"),
        ("a: ! 5", "F:1:4: found a tag"),
        ("[a]: 1", "F:1:1: found a list or an object as a key"),
        ("? {a: 1}\n: 1", "F:1:3: found a list or an object as a key"),
        ('a: "\\0"', "F:1:4: found NUL or half a surrogate pair"),
        ('a: "\\ud800"', "F:1:4: found NUL or half a surrogate pair"),
        ('"\\ud800": 1', "F:1:1: found NUL or half a surrogate pair"),
        ("a: 1\n---\nb: 2", "F:2:1: but found another document"),
        ("a: [", "F:1:5: expected the node content"),
        ("a: 'b", "F:1:6: found unexpected end of stream"),
        ("a:\n\t- b", "F:2:1: found character '\\t'"),
        ("a: b: c", "F:1:5: mapping values are not allowed here"),
        ("a: 1\nb: \x07", "F:2: found the character U+0007"),
        ("[" * 40 + "]" * 40, f"F:1:{DEPTH_MAX + 1}: found more than {DEPTH_MAX} levels"),
        ("- " * 40 + "1", f"F:1:{2 * DEPTH_MAX + 1}: found more than {DEPTH_MAX} levels"),
    ],
)
def test_hostile_or_broken_yaml_is_refused_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "F")
    assert str(caught.value).startswith(problem)


def test_a_merge_key_is_a_key_like_any_other() -> None:
    assert parse("<<: {a: 1}", "F").data == {"<<": {"a": 1}}


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{after}: &{after} [*{before}, *{before}]\n"
        for before, after in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(ConfigError, match="an anchor or alias"):
        parse(bomb, "F")


@given(st.text() | st.text("{}[]:,-?&*!|>'\"%@` \n\tab1"))
def test_any_text_is_settings_or_problems_and_nothing_else(text: str) -> None:
    try:
        fit(Config, parse(text, "F"))
    except ConfigError as error:
        assert str(error).startswith("F:")


def test_a_missing_member_of_a_list_item_is_told_at_the_item() -> None:
    document = parse("context: 8\nlora:\n  - {scale: 1}\n  - {file: a}\ntop_k: x\n", "F")
    with pytest.raises(ConfigError) as caught:
        fit(ModelSettings, document)
    assert [problem.split(",")[0] for problem in sorted(caught.value.problems)] == [
        "F:1:1: context: found 8",
        "F:3:5: lora[0].file: found nothing",
        "F:5:1: top_k: found 'x' (text)",
    ]


def test_problems_are_told_up_to_a_bound() -> None:
    with pytest.raises(ConfigError) as caught:
        fit(Config, parse("\n".join(f"key{index}: 1" for index in range(500)), "F"))
    assert len(caught.value.problems) == 20


def test_reading_never_waits_and_never_reads_too_much(tmp_path: Path) -> None:
    file = tmp_path / "f"
    os.mkfifo(file)
    with pytest.raises(ConfigError, match="no regular file"):
        read_text(file)
    file.unlink()
    file.write_bytes(b"#" * (BYTES_MAX + 1))
    with pytest.raises(ConfigError, match=f"longer than {BYTES_MAX} bytes"):
        read_text(file)
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigError, match=r"f:2: found bytes that are no UTF-8"):
        read_text(file)
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_text(file)
