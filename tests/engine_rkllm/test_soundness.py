"""Memory: nothing leaks over many runs, and sanitizers find nothing on either side.

`tools/sanitize` has them look at every test that uses the simulated runtime.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine_rkllm.soak import soak
from tests.fakes.rkllm.build import HERE, LAYOUTS
from tests.fakes.rkllm.built import NEWEST, VERSIONS, built, make_model

ROOT = Path(__file__).parents[2]
RUNS = 1000
GROWTH_BLOCKS_MAX = 500
"""Python's own count of what is allocated, which is exact; one for each run would be 1,000."""
WORKER_RUNS = 2000
"""`python -m tests.engine_rkllm.soak` does 10,000; see docs/benchmarks.md."""
GROWTH_BYTES_MAX = 16
"""For each run; the smallest block that Python or the C library give out is 16 or 32 bytes."""
SANITIZER = "-fsanitize=address,undefined", "-fno-sanitize-recover=all"

plain = pytest.mark.skipif(
    "RKLLM_SIM_OPTIONS" in os.environ, reason="the simulated runtime has a sanitizer already"
)


def story(library: Path, model: Path, *words: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine_rkllm.stories", library, model, *words],
        cwd=ROOT, text=True, env=os.environ | environ, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def test_many_runs_leave_nothing_in_python(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model.rkllm")
    output = story(built(NEWEST), model, "runs", str(RUNS))
    grown = re.search(r"grew (-?\d+) blocks", output)
    assert grown is not None
    assert int(grown[1]) < GROWTH_BLOCKS_MAX


@plain
async def test_many_runs_take_no_memory_of_the_worker(library: Path, tmp_path: Path) -> None:
    grown = await soak(library, make_model(tmp_path / "model.rkllm"), WORKER_RUNS)
    assert grown.bytes_per_run < GROWTH_BYTES_MAX, grown


@pytest.fixture
def library() -> Path:
    """Built before the loop has to be free."""
    return built(NEWEST)


def sanitized(version: str, folder: Path, script: str = "none=1") -> str:
    """What the story of everything prints on a library that was built for sanitizers.

    They see what the binding hands over and what the double does with it; Python's own memory is
    not their matter, so leaks are left to the last test.
    """
    preload = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return story(
        built(version, *SANITIZER),
        make_model(folder / "model.rkllm"),
        "everything",
        RKLLM_SIM_SCRIPT=script,
        LD_PRELOAD=preload,
        ASAN_OPTIONS="detect_leaks=0",
        PYTHONMALLOC="malloc",
    )


@plain
@pytest.mark.parametrize("version", VERSIONS)
def test_the_sanitizers_find_nothing(version: str, tmp_path: Path) -> None:
    assert "the end" in sanitized(version, tmp_path)


@plain
def test_the_sanitizers_would_find_something(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"insufficient space|heap-buffer-overflow"):
        sanitized(NEWEST, tmp_path, "prefill=overrun")


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
