"""Which release a library file is, read from its bytes before anything of it is run.

The layout has to be known before the first call, and the first call is the earliest at which the
library could say its version; so the file is searched for the text `RKLLM SDK (version: X.Y.Z`,
which it carries (seen in 1.2.0, 1.2.3, 1.3.0 and 1.3.1; not verified for 1.1.x).
"""

import mmap
import re
from collections.abc import Mapping
from pathlib import Path

from rkllmd.errors import Code, EngineError
from rkllmd.native.layouts import Layout

VERSIONS: Mapping[str, Layout] = {
    "1.1.0": Layout.V1_1,
    "1.1.1": Layout.V1_1,
    "1.1.2": Layout.V1_1,
    "1.1.3": Layout.V1_1,
    "1.1.4": Layout.V1_1,
    "1.2.0": Layout.V1_2_0,
    "1.2.1b1": Layout.V1_2_1B1,
    "1.2.1": Layout.V1_2_1,
    "1.2.2": Layout.V1_2_1,
    "1.2.3": Layout.V1_2_1,
    "1.3.0": Layout.V1_3_0,
    "1.3.1": Layout.V1_3_1,
}

_MARK = re.compile(rb"RKLLM SDK \(version: ([0-9]+\.[0-9]+[0-9A-Za-z.]{0,16})")


def read_version(path: Path) -> str | None:
    """The version that a library file carries, None where it carries none."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _MARK.search(content)
            return found[1].decode() if found else None


def choose_layout(version: str | None, forced: str = "") -> Layout:
    """The layout of a version; a forced one comes first, and without one the unknown is refused."""
    if forced:
        layout = Layout.of_label(forced)
        if layout is None:
            raise _refused(f"engine.layout is {forced!r}; allowed are {_labels()}.")
        return layout
    if version is None:
        raise _refused(
            "The library does not say its version, so its layout is unknown;"
            f" engine.layout can force one of {_labels()}."
        )
    if version.startswith("1.0."):
        raise _refused(
            f"The runtime is {version}; 1.0.x takes its arguments in another way and is not"
            " supported. Install 1.1.0 or newer, and convert the models again."
        )
    if version not in VERSIONS:
        raise _refused(
            f"The runtime is {version}, which is not known; known are {', '.join(VERSIONS)}."
            f" engine.layout can force one of {_labels()}."
        )
    return VERSIONS[version]


def _labels() -> str:
    return ", ".join(layout.label for layout in Layout)


def _refused(message: str) -> EngineError:
    return EngineError(Code.LOAD_FAILED, message)
