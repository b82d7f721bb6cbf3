"""The simulated runtime for boards' processors: it compiles, without a warning, for each layout.

The sizes of the structs are the matter of `tests/native`; that it runs, with the daemon on it, is
shown in an emulated userland (`tests/systemd/test_arm64.py`).
"""

import shutil
from pathlib import Path

import pytest

from tests.fakes.rkllm.build import build
from tests.fakes.rkllm.built import VERSIONS

AARCH64 = 183
"""EM_AARCH64 of elf.h."""
ARM = 40


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("compiler", "machine"), [("aarch64-linux-gnu-gcc", AARCH64), ("arm-linux-gnueabihf-gcc", ARM)]
)
def test_it_is_built_for_boards(version: str, compiler: str, machine: int, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    library = build(version, tmp_path / "librkllmrt.so", compiler=compiler)
    head = library.read_bytes()[:20]
    assert head[:4] == b"\x7fELF"
    assert int.from_bytes(head[18:20], "little") == machine
