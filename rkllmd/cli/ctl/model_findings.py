"""What the doctor sees of models: the files, what they need, and what the settings ask of them."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from rkllmd.board.parse import CHIPS, Board
from rkllmd.cli.ctl.findings import UPDATE, Finding, numbers
from rkllmd.config.loader import Loaded
from rkllmd.config.settings import Config
from rkllmd.errors import EngineError
from rkllmd.registry.identity import Identities
from rkllmd.registry.models import ModelEntry, Registry, scan

DOMAIN_BYTES = 4 << 30
DRIVER_FOR_LARGE = (0, 9, 6)
LLAMA = "pip install 'rkllmd[llama]' with the Python that runs the daemon, and restart it"


def models(config: Config) -> Registry:
    """The models on the disk."""
    return scan([Path(folder) for folder in config.paths.models], Identities())


def model_files(
    registry: Registry, config: Config, found: Board, runtime: Path | EngineError
) -> Iterator[Finding]:
    """Whether models can be used, and on this chip."""
    for warning in registry.warnings:
        yield Finding("models", "warning", warning, f"ls -l {' '.join(config.paths.models)}")
    if not registry.entries:
        yield Finding(
            "models", "problem", "there is no model",
            f"copy a folder with a .rkllm or .gguf file to {config.paths.models[0]}",
        )  # fmt: skip
    for entry in registry.entries:
        about = f"model {entry.name}"
        if entry.broken is not None:
            remedy = f"mend what it names in {entry.folder}, then rkllmctl reload"
            yield Finding(about, "problem", entry.broken, remedy)
            continue
        for warning in entry.warnings:
            yield Finding(about, "warning", warning, f"ls -l {entry.folder}")
        if reason := cannot_load(entry, config, found, runtime):
            remedy = LLAMA if entry.engine == "llama" else f"mv {entry.folder} ~"
            yield Finding(about, "problem", reason, remedy)
            continue
        yield from _npu_file(about, entry, found) if entry.engine == "rkllm" else ()
        yield Finding(about, "ok", f"{entry.file}, {entry.size_bytes >> 20} MiB")


def cannot_load(
    entry: ModelEntry, config: Config, found: Board, runtime: Path | EngineError
) -> str | None:
    """What a model needs and this machine has not; a library that is configured is trusted."""
    match entry.engine:
        case "rkllm" if found.chip is None and not config.engine.library:
            return "it needs a Rockchip NPU, and there is none"
        case "rkllm" if isinstance(runtime, EngineError):
            return "it needs the vendor's runtime, which is not installed"
        case "llama" if find_spec("xllamacpp") is None:
            return "it needs llama.cpp, which is not installed"
    return None


def loading(
    loaded: Loaded, registry: Registry, found: Board, runtime: Path | EngineError
) -> Iterator[Finding]:
    """Whether the models that the settings name are there, can be loaded, and together."""
    wanted, there = loaded.config.models, registry.models
    able = [
        name
        for name, entry in there.items()
        if entry.broken is None and not cannot_load(entry, loaded.config, found, runtime)
    ]
    usable = ", ".join(able) or "none"
    named = () if isinstance(wanted.preload, str) else wanted.preload
    for key, name in (("default", wanted.default), *(("preload", name) for name in named)):
        if name and name not in there:
            yield Finding(
                f"models.{key}", "problem", f"there is no model {name!r}; usable: {usable}",
                f"correct models.{key} in {loaded.file}, then rkllmctl reload",
            )  # fmt: skip
    first = next((name for name, entry in there.items() if entry.broken is None), None)
    default = wanted.default or first
    if default in there and default not in able:
        yield Finding(
            "models.default", "problem",
            f"{default} answers who names no model, and cannot be loaded here; usable: {usable}",
            f"set models.default in {loaded.file}, then rkllmctl reload",
        )  # fmt: skip
    words = {"all": tuple(there), "none": (), "default": (default,)}
    at_start = words[wanted.preload] if isinstance(wanted.preload, str) else wanted.preload
    count = sum(
        name in at_start if entry.settings.preload is None else entry.settings.preload
        for name, entry in there.items()
    )
    if count > wanted.loaded_max:
        yield Finding(
            "models.preload", "warning",
            f"{count} models are to be loaded at start, and models.loaded_max is"
            f" {wanted.loaded_max}, so they drive each other out",
            f"set models.loaded_max: {count} in {loaded.file}, then rkllmctl reload",
        )  # fmt: skip


def _npu_file(about: str, entry: ModelEntry, found: Board) -> Iterator[Finding]:
    if found.chip is None:
        return
    meant_for = [chip for chip in CHIPS if chip in entry.file.name.lower()]
    if meant_for and found.chip.lower() not in meant_for:
        yield Finding(
            about, "problem",
            f"by its name it was converted for {meant_for[0].upper()}, and this is a {found.chip}",
            f"convert it with target_platform {found.chip.lower()}",
        )  # fmt: skip
    version = numbers(found.driver)
    if entry.size_bytes > DOMAIN_BYTES and version and version < DRIVER_FOR_LARGE:
        yield Finding(
            about, "problem",
            f"it is larger than an NPU memory domain (4 GiB), which driver {found.driver} cannot"
            " go beyond", UPDATE,
        )  # fmt: skip
