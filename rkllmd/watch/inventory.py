"""The models and prompts as they may be used: what was seen on the disk, once it has settled.

A model that is being copied is not there, or is still the one that it was, until its files have
been still for a while. Hashes are read only of what has settled.
"""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rkllmd.config.settings import Config
from rkllmd.ids import ModelName
from rkllmd.registry.identity import Identities
from rkllmd.registry.models import Registry, scan
from rkllmd.registry.prompts import Prompts, scan_prompts
from rkllmd.watch.folders import Tree
from rkllmd.watch.settle import Settler

PROMPT_SETTLE_SECONDS = 0.3
MODELS_DEPTH = 1
PROMPTS_DEPTH = 2

Stamp = tuple[int, int, int]
"""Size, modification time and inode of a file."""
Stamps = tuple[tuple[str, Stamp], ...]


class Inventory:
    """What is there to be used."""

    def __init__(self, config: Config) -> None:
        self.registry = Registry({}, ())
        self.prompts = Prompts({}, {}, ())
        self._folders = [Path(folder) for folder in config.paths.models]
        self._prompts_folder = Path(config.paths.prompts)
        self._settle_s = config.models.settle_s
        self._identities = Identities()
        self._texts_changed = False
        self._models: Settler[str, Stamps] = Settler(self._settle_s)
        self._texts: Settler[str, Stamps] = Settler(PROMPT_SETTLE_SECONDS)

    @property
    def trees(self) -> list[Tree]:
        """What has to be watched."""
        return [
            *(Tree(folder, MODELS_DEPTH) for folder in self._folders),
            Tree(self._prompts_folder, PROMPTS_DEPTH),
        ]

    async def begin(self) -> None:
        """Take everything as it is: a start does not wait for files to settle."""
        models, texts = await asyncio.to_thread(self._stamps)
        self._models = Settler(self._settle_s, models)
        self._texts = Settler(PROMPT_SETTLE_SECONDS, texts)
        await asyncio.to_thread(self._scan, None)
        await asyncio.to_thread(self._scan_prompts)

    async def look(self) -> float | None:
        """Take what has settled; in how many seconds to look again, None for after a change."""
        now = asyncio.get_running_loop().time()
        models, texts = await asyncio.to_thread(self._stamps)
        model_look, text_look = self._models.look(models, now), self._texts.look(texts, now)
        if model_look.complete:
            await asyncio.to_thread(self._scan, models)
        self._texts_changed |= bool(model_look.complete or text_look.complete)
        if self._texts_changed and text_look.again_at is None:
            self._texts_changed = False
            await asyncio.to_thread(self._scan_prompts)
        times = [at for at in (model_look.again_at, text_look.again_at) if at is not None]
        return max(min(times) - now, 0.0) if times else None

    def _scan(self, seen: Mapping[str, Stamps] | None) -> None:
        """Scan all; what moves stays as it was, and what is new and moves is not there yet."""
        scanned = scan(self._folders, self._identities)
        if seen is None:
            self.registry = scanned
            return
        still = {name for name, stamps in self._models.settled.items() if seen.get(name) == stamps}
        before = self.registry.models
        names = sorted({*before, *scanned.models})
        kept = {
            name: found
            for name in names
            if (found := (scanned.models if _is_still(name, still, seen) else before).get(name))
        }
        self.registry = Registry(kept, scanned.warnings, scanned.complete)

    def _scan_prompts(self) -> None:
        self.prompts = scan_prompts(self._prompts_folder, self.registry.models, self.prompts)

    def _stamps(self) -> tuple[dict[str, Stamps], dict[str, Stamps]]:
        models: dict[str, Stamps] = {}
        for folder in reversed(self._folders):
            models |= {name: _files(folder / name) for name in _names(folder)}
        texts = {str(path): _stamp(path) for path in _texts(self._prompts_folder)}
        return models, {path: ((path, stamp),) for path, stamp in texts.items() if stamp}


def _is_still(name: ModelName, still: set[str], seen: Mapping[str, Stamps]) -> bool:
    return name in still or name not in seen


def _names(folder: Path) -> Sequence[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208
    except OSError:
        return ()


def _files(folder: Path) -> Stamps:
    stamps = ((name, _stamp(folder / name)) for name in _names(folder))
    return tuple((name, stamp) for name, stamp in stamps if stamp is not None)


def _texts(folder: Path) -> Iterable[Path]:
    yield folder / "system.txt"
    for below in (folder / "prompts", *(folder / "models" / n for n in _names(folder / "models"))):
        yield from (below / name for name in _names(below))


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino
