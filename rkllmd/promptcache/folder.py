"""One model's folder: finding entries, and replacing or removing them so that no crash mixes two.

Three files cannot be renamed at once, so an entry is found by its JSON and the checksums in it, and
each of the three may stand under its own name or under the staging name of one change:

    NAME.bin  NAME.rkllm_cache  NAME.json          where a person finds them
    .NAME.TOKEN.bin  .rkllm_cache  .json           staged; TOKEN is 16 hexadecimal digits, rising
    .NAME.TOKEN.gone                               NAME is being deleted

    replacing   1  the engine writes the staged state, we write the staged text, then the staged
                   JSON; each is flushed, then the folder; from here on the new entry counts
                2  text and state get their own names; the folder is flushed
                3  the JSON gets its own name, the last of the three; the folder is flushed
    changing    only what the JSON says: the same without text and state
    deleting    1  NAME.json becomes the tombstone; the folder is flushed; from here on it is gone
                2  state and text are removed; the folder is flushed
                3  the tombstone is removed

A staged JSON counts when both its files are found, whole, under the staging names or their own;
then it goes before NAME.json. So a cut before the end of 1 leaves the old entry, whatever part of
the staged files reached the disk, and a cut after it leaves the new one, whatever renames did.
`sweep` does the steps that are left and removes what never came to count. A step that is
refused changes nothing of this: before the end of 1 it is undone (where even that is refused the
change may count all the same; it is whole), after it the next change or sweep does the rest.

Only these names are touched. Anything else in the folder is somebody else's.
"""

import re
import time
from contextlib import suppress
from dataclasses import dataclass, replace

from rkllmd.ids import CacheName, ModelName, is_name
from rkllmd.promptcache.disk import Disk
from rkllmd.promptcache.entry import (
    JSON_BYTES_MAX,
    TEXT_BYTES_MAX,
    BadEntryError,
    Damaged,
    Entry,
    parse,
    render,
)

TEXT, STATE, JSON, GONE = "bin", "rkllm_cache", "json", "gone"
SETTLED_NS = 100_000_000
"""A digest is remembered only of files that were last changed longer ago than clocks are coarse."""
DIGESTS_MAX = 4096

_STAGED = re.compile(r"\.(.+)\.([0-9a-f]{16})\.(bin|rkllm_cache|json|gone)")
_OWN = re.compile(r"(.+)\.(bin|rkllm_cache|json)")

Digests = dict[tuple[int, ...], str]
"""What files were seen to hold, by device, inode, size and times; one for all folders."""


@dataclass(frozen=True, slots=True)
class Found:
    """A whole entry, and the names under which its files are."""

    entry: Entry
    text_name: str
    state_name: str | None


def own_name(name: str, kind: str) -> str:
    """The file of an entry."""
    return f"{name}.{kind}"


def staged_name(name: str, token: str, kind: str) -> str:
    """The file of a change to an entry."""
    return f".{name}.{token}.{kind}"


def new_token() -> str:
    """What names a change; later ones are greater."""
    return f"{time.time_ns():016x}"


class ModelFolder:
    """An open and locked folder of one model."""

    def __init__(self, disk: Disk, folder: int, model: ModelName, digests: Digests) -> None:
        self._disk = disk
        self._folder = folder
        self._model = model
        self._digests = digests

    def cache_names(self) -> list[CacheName]:
        """Every name that files of ours are about."""
        found = set()
        for file in self._disk.names(self._folder):
            match = _OWN.fullmatch(file) or _STAGED.fullmatch(file)
            if match and is_name(match[1]):
                found.add(CacheName(match[1]))
        return sorted(found)

    def find(self, name: CacheName) -> Found | Damaged | None:
        """The entry that counts, or why there is none although there are files."""
        files = self._disk.names(self._folder)
        for token in reversed(_tokens(files, name, JSON)):
            with suppress(BadEntryError):
                return self._whole(name, token)
        if own_name(name, JSON) not in files:
            if _tokens(files, name, GONE) or not {own_name(name, TEXT), own_name(name, STATE)} & {
                *files
            }:
                return None
            return Damaged(self._model, name, f"{own_name(name, JSON)} is missing")
        try:
            return self._whole(name, None)
        except BadEntryError as error:
            return self._damaged(name, str(error))

    def text(self, found: Found) -> str:
        """The prompt's text."""
        return self._disk.read(self._folder, found.text_name, TEXT_BYTES_MAX).decode(
            errors="replace"
        )

    def publish(self, entry: Entry, text: bytes | None, token: str) -> None:
        """Let an entry count; its state, where it is a new one, is staged under the token."""
        name = CacheName(entry.cache_name)
        try:
            self.settle(name)
            if text is not None:
                self._write(staged_name(name, token, TEXT), text)
            self._write(staged_name(name, token, JSON), render(entry))
            self._disk.sync_folder(self._folder)
        except OSError:
            self.discard(name, token)
            raise
        with suppress(OSError):
            self._put_in_place(name, token)
            self._drop_unnamed_state(name)

    def discard(self, name: CacheName, token: str) -> None:
        """Remove what was staged for a change that is not to be."""
        for kind in (JSON, TEXT, STATE):
            with suppress(OSError):
                self._unlink(staged_name(name, token, kind))

    def settle(self, name: CacheName) -> int:
        """Do the steps that are left of earlier changes; how many changes there were."""
        files = self._disk.names(self._folder)
        changes = 0
        for token in _tokens(files, name, JSON):
            with suppress(BadEntryError):
                self._whole(name, token)
                self._put_in_place(name, token)
                changes += 1
        return changes + self._finish_deletion(name)

    def delete(self, name: CacheName) -> None:
        """Remove an entry, or the remains of one."""
        self.settle(name)
        tombstone = staged_name(name, new_token(), GONE)
        if self._disk.facts(self._folder, own_name(name, JSON)):
            self._disk.rename(self._folder, own_name(name, JSON), tombstone)
        else:
            self._write(tombstone, b"")
        self._disk.sync_folder(self._folder)
        self._finish_deletion(name)

    def sweep(self) -> tuple[int, int]:
        """Finish what was begun and remove leftovers; only while nobody else stages anything here.

        How many changes were finished and how many files were removed.
        """
        changes = removed = 0
        for name in self.cache_names():
            changes += self.settle(name)
            removed += self._drop_unnamed_state(name)
        for file in self._disk.names(self._folder):
            match = _STAGED.fullmatch(file)
            if match and is_name(match[1]):
                removed += self._unlink(file)
        if removed:
            self._disk.sync_folder(self._folder)
        return changes, removed

    def _put_in_place(self, name: CacheName, token: str) -> None:
        files = self._disk.names(self._folder)
        moved = False
        for kind in (TEXT, STATE):
            if staged_name(name, token, kind) in files:
                self._move(name, token, kind)
                moved = True
        if moved:
            self._disk.sync_folder(self._folder)
        self._move(name, token, JSON)
        self._disk.sync_folder(self._folder)

    def _finish_deletion(self, name: CacheName) -> int:
        files = self._disk.names(self._folder)
        tombstones = _tokens(files, name, GONE)
        if not tombstones:
            return 0
        if own_name(name, JSON) not in files:
            self._unlink(own_name(name, STATE))
            self._unlink(own_name(name, TEXT))
            self._disk.sync_folder(self._folder)
        for token in tombstones:
            self._unlink(staged_name(name, token, GONE))
        return 1

    def _drop_unnamed_state(self, name: CacheName) -> int:
        """Remove a state that the entry does not have any more."""
        with suppress(BadEntryError):
            if self._parsed(own_name(name, JSON), name).snapshot is None:
                return self._unlink(own_name(name, STATE))
        return 0

    def _write(self, file: str, data: bytes) -> None:
        self._disk.write(self._folder, file, data)
        self._disk.sync(self._folder, file)

    def _move(self, name: CacheName, token: str, kind: str) -> None:
        self._disk.rename(self._folder, staged_name(name, token, kind), own_name(name, kind))

    def _unlink(self, file: str) -> int:
        try:
            self._disk.unlink(self._folder, file)
        except FileNotFoundError:
            return 0
        return 1

    def _parsed(self, file: str, name: CacheName) -> Entry:
        data = self._read(file, JSON_BYTES_MAX)
        try:
            entry = parse(data, name)
        except BadEntryError as error:
            raise BadEntryError(f"{file}: {error}") from error
        return replace(entry, model_name=self._model)

    def _whole(self, name: CacheName, token: str | None) -> Found:
        json_name = staged_name(name, token, JSON) if token else own_name(name, JSON)
        entry = self._parsed(json_name, name)
        text_name = self._locate(name, token, TEXT, entry.text_bytes, entry.text_sha256)
        state_name = None
        if entry.snapshot:
            size, sha256 = entry.snapshot.size, entry.snapshot.state_sha256
            state_name = self._locate(name, token, STATE, size, sha256)
        return Found(entry, text_name, state_name)

    def _locate(self, name: CacheName, token: str | None, kind: str, size: int, sha256: str) -> str:
        if token and self._misfit(staged_name(name, token, kind), size, sha256) is None:
            return staged_name(name, token, kind)
        misfit = self._misfit(own_name(name, kind), size, sha256)
        if misfit:
            raise BadEntryError(misfit)
        return own_name(name, kind)

    def _misfit(self, file: str, size: int, sha256: str) -> str | None:
        """Why a file is not the one that an entry names."""
        try:
            facts = self._disk.facts(self._folder, file)
            if facts is None:
                return f"{file} is missing"
            if facts.st_size != size:
                return f"{file} has {facts.st_size} bytes in place of {size}"
            if self._digest(file) != sha256:
                return f"{file} is not what was written; it was damaged or edited"
        except OSError as error:
            return f"{file} cannot be read: {error.strerror or error}"
        return None

    def _digest(self, file: str) -> str:
        facts = self._disk.facts(self._folder, file)
        assert facts, "the folder is locked"
        key = (
            facts.st_dev, facts.st_ino, facts.st_mode, facts.st_size,
            facts.st_mtime_ns, facts.st_ctime_ns,
        )  # fmt: skip
        known = self._digests.get(key)
        if known is None:
            settled = time.time_ns() - max(facts.st_mtime_ns, facts.st_ctime_ns) > SETTLED_NS
            known = self._disk.digest(self._folder, file)
            if settled:
                if len(self._digests) >= DIGESTS_MAX:
                    self._digests.clear()
                self._digests[key] = known
        return known

    def _damaged(self, name: CacheName, reason: str) -> Damaged:
        entry = text = None
        with suppress(BadEntryError):
            entry = self._parsed(own_name(name, JSON), name)
            self._locate(name, None, TEXT, entry.text_bytes, entry.text_sha256)
            text = self._read(own_name(name, TEXT), TEXT_BYTES_MAX).decode(errors="replace")
        return Damaged(self._model, name, reason, entry, text)

    def _read(self, file: str, bytes_max: int) -> bytes:
        try:
            data = self._disk.read(self._folder, file, bytes_max)
        except OSError as error:
            raise BadEntryError(f"{file} cannot be read: {error.strerror or error}") from error
        if len(data) > bytes_max:
            raise BadEntryError(f"{file} is longer than {bytes_max} bytes")
        return data


def _tokens(files: list[str], name: str, kind: str) -> list[str]:
    """The changes of an entry that staged a file of this kind, oldest first."""
    matches = (_STAGED.fullmatch(file) for file in files)
    return sorted(match[2] for match in matches if match and (match[1], match[3]) == (name, kind))
