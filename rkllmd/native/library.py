"""Finds the vendor's library, reads its version, loads it and applies the tables.

Nothing of the library runs before its layout is known: loading a shared object runs its
constructors, but no struct is passed until `Library` has bound every function of that layout. A
library that lacks one of them is not what its version says and is refused.
"""

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rkllmd.errors import Code, EngineError
from rkllmd.native.functions import CHECKERS, SIGNATURES, signature
from rkllmd.native.layouts import Layout
from rkllmd.native.rkllm import STRUCTS
from rkllmd.native.structs import Classes
from rkllmd.native.version import choose_layout, read_version

FILE_NAME = "librkllmrt.so"
FOLDERS = (
    "/usr/lib", "/usr/local/lib", "/opt/lib", "/lib",
    "/usr/lib/aarch64-linux-gnu", "/usr/lib/arm-linux-gnueabihf",
    "/lib/aarch64-linux-gnu", "/lib/arm-linux-gnueabihf",
)  # fmt: skip

DEFAULTS_SPARE_BYTES = 256
"""Room behind the struct that rkllm_createDefaultParam returns: the library writes as much as *its*
struct has, and a forced layout may have a smaller one."""


class Library:
    """The loaded library: `call` has its functions, `types` its structs, `layout` says which."""

    def __init__(self, path: Path, version: str, layout: Layout) -> None:
        self.path = path
        self.version = version
        self.layout = layout
        self.types = Classes(STRUCTS, layout)
        self.result_callback = ctypes.CFUNCTYPE(
            ctypes.c_int, self.types.type("RKLLMResult*"), ctypes.c_void_p, ctypes.c_int
        )
        self.call = SimpleNamespace(**dict(self._bound(_opened(path))))

    def has(self, function: str) -> bool:
        """Whether this layout has a function."""
        return hasattr(self.call, function)

    def default_param(self) -> Any:
        """A RKLLMParam with the library's defaults."""
        return self.call.rkllm_createDefaultParam().param

    def _bound(self, loaded: ctypes.CDLL) -> Iterator[tuple[str, Any]]:
        for name in SIGNATURES:
            declared = signature(name, self.layout)
            if declared is None:
                continue
            try:
                function = getattr(loaded, name)
            except AttributeError:
                raise EngineError(
                    Code.LOAD_FAILED,
                    f"{self.path} is bound as {self.layout.label} but has no {name};"
                    " it is not the release that it says it is.",
                ) from None
            function.argtypes = [self._argument(spelled) for spelled in declared.arguments]
            function.restype = self._result(declared.result)
            checker = CHECKERS[name]
            if checker is not None:
                function.errcheck = checker
            yield name, function

    def _argument(self, spelled: str) -> Any:
        match spelled:
            case "void**":
                return ctypes.POINTER(ctypes.c_void_p)
            case "LLMResultCallback":
                return self.result_callback
            case _:
                return self.types.type(spelled)

    def _result(self, spelled: str) -> Any:
        if spelled == "int":
            return ctypes.c_int

        class WithSpare(ctypes.Structure):
            _fields_ = (
                ("param", self.types[spelled]),
                ("spare", ctypes.c_uint8 * DEFAULTS_SPARE_BYTES),
            )

        return WithSpare


def open_library(
    setting: str = "", forced_layout: str = "", environ: Mapping[str, str] = os.environ
) -> Library:
    """The vendor's library, found, recognised, loaded and bound."""
    path = find_library(setting, environ)
    try:
        version = read_version(path)
    except OSError as error:
        raise EngineError(
            Code.LOAD_FAILED, f"The library {path} cannot be read: {error.strerror}."
        ) from error
    return Library(path, version or "unknown", choose_layout(version, forced_layout))


def find_library(
    setting: str = "",
    environ: Mapping[str, str] = os.environ,
    folders: tuple[str, ...] = FOLDERS,
) -> Path:
    """The setting's file, or the first one in LD_LIBRARY_PATH and the usual folders."""
    if setting:
        path = Path(setting)
        try:
            path = path / FILE_NAME if path.is_dir() else path
            reason = "" if path.is_file() else "there is no such file"
        except OSError as error:  # a folder that is closed to us
            reason = f"it cannot be read: {error.strerror}"
        if reason:
            raise EngineError(Code.LOAD_FAILED, f"engine.library is {setting!r}, but {reason}.")
        return path
    listed = [folder for folder in environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    searched = [*listed, *folders]
    for folder in searched:
        path = Path(folder) / FILE_NAME
        with suppress(PermissionError):  # a folder that is closed to us
            if path.is_file():
                return path
    raise EngineError(
        Code.LOAD_FAILED,
        f"{FILE_NAME} is in none of {', '.join(searched)}. Install the vendor's runtime,"
        " or set engine.library.",
    )


def _opened(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path.absolute()))
    except OSError as error:
        hint = " Install libgomp1." if "libgomp" in str(error) else ""
        raise EngineError(
            Code.LOAD_FAILED, f"The library {path} cannot be loaded: {error}.{hint}"
        ) from error
