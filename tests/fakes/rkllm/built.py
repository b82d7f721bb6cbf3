"""The simulated runtime, built once for each test session, and models for it.

RKLLM_SIM_OPTIONS adds options for gcc; `tools/sanitize` uses it.
"""

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

from tests.fakes.rkllm.build import LAYOUTS, build

VERSIONS = tuple(LAYOUTS)
NEWEST = VERSIONS[-1]


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="rkllmd-simulated-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def built(version: str, *options: str, layout: str | None = None) -> Path:
    """The library of a release."""
    folder = Path(tempfile.mkdtemp(dir=_folder()))
    options = (*os.environ.get("RKLLM_SIM_OPTIONS", "").split(), *options)
    return build(version, folder / "librkllmrt.so", *options, layout=layout)


def make_model(path: Path, **parameters: object) -> Path:
    """A model file; its content, and so every parameter, is part of what it answers."""
    lines = [f"{name}={value}" for name, value in parameters.items()]
    path.write_text("\n".join(["RKLLM-SIM", *lines, ""]))
    return path
