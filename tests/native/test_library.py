"""The library is found where it should be, and refused with a reason where it does not fit."""

import platform
import re
import subprocess
from pathlib import Path

import pytest

from rkllmd.errors import Code, EngineError
from rkllmd.native.functions import CHECKERS, SIGNATURES
from rkllmd.native.layouts import Layout
from rkllmd.native.library import FILE_NAME, find_library, open_library
from tests.fakes.rkllm.build import HERE, LAYOUTS
from tests.fakes.rkllm.built import VERSIONS, built
from tests.native.test_layouts import ROWS
from tests.registry.conftest import open_folder, without_rights

__all__ = ["open_folder"]

ALWAYS = {
    "rkllm_createDefaultParam", "rkllm_init", "rkllm_destroy", "rkllm_run", "rkllm_run_async",
    "rkllm_abort", "rkllm_is_running", "rkllm_load_lora", "rkllm_load_prompt_cache",
    "rkllm_release_prompt_cache",
}  # fmt: skip
SINCE_1_2_0 = {"rkllm_set_chat_template", "rkllm_clear_kv_cache"}
SINCE_1_2_1 = {
    "rkllm_get_kv_cache_size", "rkllm_set_function_tools", "rkllm_set_cross_attn_params",
}  # fmt: skip


def place(folder: Path) -> Path:
    folder.mkdir()
    file = folder / FILE_NAME
    file.write_bytes(b"")
    return file


def test_search_goes_from_the_setting_to_the_usual_folders(tmp_path: Path) -> None:
    mine, listed, usual = (place(tmp_path / name) for name in ("mine", "listed", "usual"))
    environ = {"LD_LIBRARY_PATH": f"{tmp_path}/none::{listed.parent}"}
    folders = (str(usual.parent),)
    assert find_library(str(mine), environ, folders) == mine
    assert find_library(str(mine.parent), environ, folders) == mine
    assert find_library("", environ, folders) == listed
    assert find_library("", {}, folders) == usual


def test_a_missing_library_names_what_was_searched(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"engine\.library") as caught:
        find_library("", {"LD_LIBRARY_PATH": "/nowhere"}, (str(tmp_path),))
    assert "/nowhere" in caught.value.message
    assert str(tmp_path) in caught.value.message
    with pytest.raises(EngineError, match="no such file"):
        find_library(str(tmp_path / "gone.so"))


def test_a_library_in_a_closed_folder(open_folder: Path) -> None:
    """As in somebody's home, which the service does not see."""
    closed, usual = place(open_folder / "closed"), place(open_folder / "usual")
    (open_folder / "usual").chmod(0o755)
    closed.parent.chmod(0o000)
    with without_rights():
        with pytest.raises(EngineError, match="it cannot be read: Permission denied"):
            find_library(str(closed))
        environ = {"LD_LIBRARY_PATH": str(closed.parent)}
        assert find_library("", environ, (str(usual.parent),)) == usual
    closed.parent.chmod(0o700)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"RKLLM SDK (version: 1.3.1)", "cannot be loaded"),
        (b"RKLLM SDK (version: 1.0.1)", r"1\.0\.1"),
        (b"RKLLM SDK (version: 7.1)", r"7\.1"),
        (b"no version", "does not say its version"),
        (b"", "does not say its version"),
    ],
)
def test_what_is_no_library_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / FILE_NAME
    file.write_bytes(content)
    with pytest.raises(EngineError, match=reason) as caught:
        open_library(str(file))
    assert caught.value.code is Code.LOAD_FAILED


def test_a_library_that_lacks_a_function_is_refused_by_name(tmp_path: Path) -> None:
    source, target = tmp_path / "hollow.c", tmp_path / FILE_NAME
    source.write_text('const char version[] = "RKLLM SDK (version: 1.3.1)";')
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", target, source], check=True)
    with pytest.raises(EngineError, match="rkllm_createDefaultParam"):
        open_library(str(target))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_function_of_a_layout_is_bound(version: str) -> None:
    library = open_library(str(built(version)))
    names = ALWAYS | (SINCE_1_2_0 if library.layout >= Layout.V1_2_0 else set())
    names |= SINCE_1_2_1 if library.layout >= Layout.V1_2_1 else set()
    assert set(vars(library.call)) == names
    assert library.version == version
    assert all(function.argtypes is not None for function in vars(library.call).values())
    defaults = library.default_param()
    assert (defaults.max_context_len, defaults.top_k, defaults.skip_special_token) == (
        4096,
        40,
        True,
    )
    assert defaults.mirostat_eta == pytest.approx(0.1)


def test_tables_speak_of_the_same_functions() -> None:
    assert set(SIGNATURES) == set(CHECKERS) == ALWAYS | SINCE_1_2_0 | SINCE_1_2_1


def test_a_forced_layout_binds_an_unknown_release() -> None:
    file = built("1.9.0", layout="V1_3_1")
    with pytest.raises(EngineError, match=r"1\.9\.0"):
        open_library(str(file))
    library = open_library(str(file), "1.3.1")
    assert (library.version, library.layout) == ("1.9.0", Layout.V1_3_1)


def test_defaults_of_a_larger_struct_overwrite_nothing() -> None:
    library = open_library(str(built("1.2.3")), "1.3.0")
    for _ in range(100):
        assert library.default_param().top_k == 40


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("layout", Layout, ids=lambda layout: layout.label)
def test_the_simulated_header_is_the_vendors(layout: Layout, bits: int) -> None:
    """The double was written apart from the binding; the reference's tables check it too."""
    if platform.machine() != "x86_64" and bits == 32:
        pytest.skip("only gcc for x86 has both word sizes")
    word = bits // 8
    lines = [f"#define LAYOUT {layout.name}", f'#include "{HERE / "header.h"}"']
    for row in ROWS:
        if row.layout is not layout:
            continue
        lines.append(f'_Static_assert(sizeof({row.struct}) == {row.sizes[word]}, "");')
        lines += [
            f'_Static_assert(offsetof({row.struct}, {field}) == {place.offset}, "");'
            for field, place in row.fields[word].items()
        ]
    source = "\n".join(lines)
    assert len(re.findall("_Static_assert", source)) > 50
    subprocess.run(
        ["gcc", f"-m{bits}", "-ffreestanding", "-fsyntax-only", "-xc", "-"],
        input=source.encode(),
        check=True,
    )


def test_every_layout_is_simulated() -> None:
    assert set(LAYOUTS.values()) == {layout.name for layout in Layout}
