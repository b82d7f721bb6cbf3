"""The tool says what an entry is and why it would be a miss."""

import subprocess
import sys
from pathlib import Path

import pytest

from rkllmd.ids import CacheName
from rkllmd.promptcache.store import Store
from tests.promptcache.samples import MODEL, put

TOOL = Path(__file__).parents[2] / "tools" / "inspect-cache"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    with Store(tmp_path / "cache") as store:
        put(store, "prompt")
        put(store, "other", name=CacheName("kitchen"), state="broken", reason="it differs")
    return tmp_path / "cache"


def inspect(path: Path) -> tuple[int, str]:
    result = subprocess.run(
        [sys.executable, TOOL, path], capture_output=True, text=True, check=False
    )
    return result.returncode, result.stdout + result.stderr


def test_a_folder(cache: Path) -> None:
    status, said = inspect(cache)
    assert status == 1
    assert "qwen/kitchen: a miss: it is broken (it differs)\n" in said
    assert "qwen/system: verified\n" in said
    assert "of 3 canaries counts fit in 3 and words agree in 2" in said
    assert inspect(cache / MODEL) == (status, said)


def test_an_entry_whole_damaged_and_missing(cache: Path) -> None:
    for ending in ("", ".json", ".rkllm_cache"):
        status, said = inspect(cache / MODEL / f"system{ending}")
        assert (status, said.splitlines()[0]) == (0, "qwen/system: verified")
    (cache / MODEL / "system.bin").write_bytes(b"Prompt")
    status, said = inspect(cache / MODEL / "system")
    assert status == 1
    assert said.startswith("qwen/system: a miss: system.bin is not what was written")
    status, said = inspect(cache / MODEL / "none")
    assert (status, said) == (1, "qwen/none: a miss: there is no such entry\n")
    status, said = inspect(cache / "none" / "none")
    assert status == 1
    assert "no such folder or entry" in said
