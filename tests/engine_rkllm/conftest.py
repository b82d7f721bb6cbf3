"""A script for the simulated runtime, and an environment that is put back."""

from collections.abc import Callable
from pathlib import Path

import pytest

Script = Callable[[str], None]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    # The engine sets it for releases that say their counts only in the log.
    monkeypatch.setenv("RKLLM_LOG_LEVEL", "0")
    monkeypatch.delenv("RKLLM_LOG_LEVEL")


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Writes what shall go wrong from now on."""
    file = tmp_path / "script"
    monkeypatch.setenv("RKLLM_SIM_SCRIPT", str(file))

    def write(text: str) -> None:
        file.write_text(text)

    return write
