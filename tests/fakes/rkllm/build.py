"""Builds the simulated runtime: `build.py VERSION FILE [gcc option]...` or `build(...)`.

It is a shared library that exports the vendor's symbols in the layout of one release. It is never
installed; tests and `make run-sim` point `engine.library` at it.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = ("runtime.c", "run.c", "language.c", "script.c", "state_file.c", "strict.c", "device.c")
LAYOUTS = {
    "1.1.4": "V1_1",
    "1.2.0": "V1_2_0",
    "1.2.1b1": "V1_2_1B1",
    "1.2.3": "V1_2_1",
    "1.3.0": "V1_3_0",
    "1.3.1": "V1_3_1",
}


def build(
    version: str,
    target: Path,
    *options: str,
    layout: str | None = None,
    compiler: str = "gcc",
) -> Path:
    """The library of a release, compiled; an unknown version needs a layout's name."""
    command = [
        compiler, "-std=gnu17", "-O1", "-g", "-fPIC", "-shared", "-fvisibility=default",
        "-Wall", "-Wextra", "-Werror", f"-DLAYOUT={layout or LAYOUTS[version]}",
        f'-DVERSION="{version}"', *options, "-o", str(target),
        *(str(HERE / source) for source in SOURCES), "-lpthread",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return target


if __name__ == "__main__":
    build(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
