"""Memory: nothing leaks over many runs, and the address sanitizer finds nothing on either side."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.rkllm.build import HERE, LAYOUTS
from tests.fakes.rkllm.built import NEWEST, VERSIONS, built, make_model

ROOT = Path(__file__).parents[2]
RUNS = 10_000
GROWTH_KIB_MAX = 1024
"""A table of Python's own, that of interned strings, doubles once on the way: half of it."""
GROWTH_BLOCKS_MAX = 500
"""Python's own count of what is allocated, which is exact; one for each run would be 10,000."""


def story(library: Path, model: Path, *words: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine_rkllm.stories", library, model, *words],
        cwd=ROOT, text=True, env=os.environ | environ, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_ten_thousand_runs_take_no_memory(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model.rkllm")
    output = story(built(NEWEST), model, "runs", str(RUNS))
    grown = re.search(r"grew (-?\d+) KiB, (-?\d+) blocks", output)
    assert grown is not None
    assert int(grown[1]) < GROWTH_KIB_MAX
    assert int(grown[2]) < GROWTH_BLOCKS_MAX


@pytest.mark.parametrize("version", VERSIONS)
def test_the_address_sanitizer_finds_nothing(version: str, tmp_path: Path) -> None:
    """It sees what the binding hands over and what the double does with it; Python's own memory
    is not its matter, so leaks are left to the next test."""
    sanitizer = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    output = story(
        built(version, "-fsanitize=address"),
        make_model(tmp_path / "model.rkllm"),
        "everything",
        LD_PRELOAD=sanitizer,
        ASAN_OPTIONS="detect_leaks=0",
        PYTHONMALLOC="malloc",
    )
    assert "the end" in output


@pytest.mark.parametrize("version", ["1.1.4", "1.2.3", NEWEST])
def test_the_double_leaks_nothing(version: str, tmp_path: Path) -> None:
    program = tmp_path / "driver"
    sources = [*HERE.glob("*.c"), HERE / "driver" / "driver.c"]
    subprocess.run(
        ["gcc", "-std=gnu17", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
         f"-DLAYOUT={LAYOUTS[version]}", f'-DVERSION="{version}"', "-o", program, *sources,
         "-lpthread"],
        check=True,
    )  # fmt: skip
    model = make_model(tmp_path / "model.rkllm")
    subprocess.run([program, model, tmp_path / "state"], check=True, stdout=subprocess.DEVNULL)
