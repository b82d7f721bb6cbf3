"""The cache folder: all entries of all models, and the only code that changes it.

    cache/                        the administrator's choice; may itself be reached through a link
      CACHEDIR.TAG                tells backup programs to leave this out
      .usage.json                 hits and last use (`usage.py`); may be lost
      .findings.json              what models cannot do (`findings.py`); may be lost
      .NAME.new                   one of these being written; swept at start
      MODEL/                      one folder for each model; its name is the model's
        NAME.bin  .rkllm_cache  .json          an entry (`entry.py`)
        .NAME.TOKEN.…             a change that is not complete (`folder.py`)

Who may touch what. The engine writes its state to the one path that `stage` gave, and reads it
from the path that `state_path` gave; everything else is done here. A model's folder is locked
(flock on the folder itself) for each change and each look, shared for looks, so threads and other
processes see an entry before or after a change, never during it. The root is locked shared as
long as a store is open; who can lock it alone at `open` is the only one and sweeps.

What a crash leaves. A power cut at any instant leaves each entry old or new, as `folder.py`
shows, and a new start removes what was begun. A model's folder is renamed in one step. Foreign
files, links and folders are never followed, changed or removed.

All calls block and may hash a state of hundreds of megabytes, so a loop makes them in a thread.
What was hashed once is not hashed again until its inode, size or times change; a bit that flips
in place on the disk is found at the next start. The disk's refusals are `StorageError`s, and what
was there before still serves.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from rkllmd.errors import Code, NotFound, RequestError, StorageError
from rkllmd.ids import CacheName, ModelName
from rkllmd.promptcache.disk import Disk
from rkllmd.promptcache.entry import TEXT_BYTES_MAX, Damaged, Entry, Failure, Source, State, render
from rkllmd.promptcache.findings import FINDINGS_BYTES_MAX, Findings
from rkllmd.promptcache.folder import STATE, Found, ModelFolder, new_token, staged_name
from rkllmd.promptcache.root import FINDINGS_FILE, USAGE_FILE, Root, Sweep, check_name
from rkllmd.promptcache.usage import USAGE_BYTES_MAX, Usage, UsageBook

BLOCK_BYTES = 4096
NOT_BUILT = "not built yet"
EVICTED = "let go to make room"


@dataclass(frozen=True, slots=True)
class Staging:
    """Where an engine may write the state of an entry that is not there yet."""

    model: ModelName
    name: CacheName
    token: str
    path: Path


class Store:
    """The entries of a cache folder."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.folder = folder
        self._root = Root(folder, disk or Disk())
        self._book = UsageBook()
        self.findings = Findings()
        """Kept in memory and written with the usage; may be looked at while no store is open."""

    def open(self) -> Sweep:
        """Make the folder where there is none, and sweep it where nobody else has it open."""
        report = self._root.open()
        disk, folder = self._root.disk, self._root.folder
        with suppress(OSError):
            self._book.read(disk.read(folder, USAGE_FILE, USAGE_BYTES_MAX))
        with suppress(OSError):
            self.findings.read(disk.read(folder, FINDINGS_FILE, FINDINGS_BYTES_MAX))
        return report

    def follow(self) -> None:
        """Go on in the folder that is there now, where the one that was opened is gone."""
        self._root.follow()

    def close(self) -> None:
        """Write the notes, where the disk lets us, and let the folder go; twice does no harm."""
        if self._root.is_open:
            with suppress(StorageError):
                self.save_notes()
            self._root.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    # Looking

    def models(self) -> list[ModelName]:
        """The models that have a folder."""
        with self._root.doing("read the cache folder"):
            return self._root.models()

    def entries(self) -> list[Entry | Damaged]:
        """All that is stored, by model and name; a model's folder that cannot be read has none."""
        found = []
        for model in self.models():
            with suppress(StorageError):
                found += self.entries_of(model)
        return found

    def entries_of(self, model: ModelName) -> list[Entry | Damaged]:
        """All that is stored of one model, by name."""
        with self._root.doing(f"read the caches of {model}"), self._root.look(model) as folder:
            looks = [folder.find(name) for name in folder.cache_names()] if folder else []
            return [_bare(look) for look in looks if look]

    def find(self, model: ModelName, name: CacheName) -> Entry | Damaged | None:
        """One entry, or why its files are none, or None."""
        with self._root.doing(f"read the cache {model}/{name}"), self._root.look(model) as folder:
            look = folder.find(name) if folder else None
            return _bare(look) if look else None

    def text(self, model: ModelName, name: CacheName) -> str | None:
        """The text that an entry's state was, or is to be, made from."""
        with self._root.doing(f"read the prompt {model}/{name}"), self._root.look(model) as folder:
            look = folder.find(name) if folder else None
            if folder and isinstance(look, Found):
                return folder.text(look)
            return look.text if isinstance(look, Damaged) else None

    def prompts(self, model: ModelName) -> dict[CacheName, str]:
        """The texts that clients want: of prompts made through the API, the newest one each."""
        wanted = {}
        with self._root.doing(f"read the prompts of {model}"), self._root.look(model) as folder:
            for name in folder.cache_names() if folder else []:
                look = folder.find(name) if folder else None
                entry = look.entry if look else None
                if folder and look and entry and entry.source == "api":
                    text = look.text if isinstance(look, Damaged) else folder.text(look)
                    text = entry.next_text if entry.next_text is not None else text
                    if text is not None:
                        wanted[name] = text
        return wanted

    def state_path(self, model: ModelName, name: CacheName) -> Path | None:
        """Where the engine finds the state of a whole entry; None where there is none."""
        with self._root.doing(f"read the cache {model}/{name}"), self._root.look(model) as folder:
            look = folder.find(name) if folder else None
            if isinstance(look, Found) and look.state_name:
                return self.folder / model / look.state_name
        return None

    def bytes_used(self) -> int:
        """How much the models' folders hold, leftovers and foreign files included."""
        used = 0
        with self._root.doing("measure the cache folder"):
            for model in self.models():
                with self._root.disk.child(self._root.folder, model) as folder:
                    facts = [
                        self._root.disk.facts(folder, name)
                        for name in self._root.disk.names(folder)
                    ]
                    used += sum(fact.st_size for fact in facts if fact)
        return used

    def free_bytes(self) -> int:
        """How much the disk can still take."""
        with self._root.doing("measure the disk of the cache folder"):
            return self._root.disk.free_bytes(self._root.folder)

    # Changing

    def stage(self, model: ModelName, name: CacheName) -> Staging:
        """A path in the model's folder for an engine to write a state to."""
        check_name(name)
        with self._root.doing(f"stage the cache {model}/{name}"), self._root.change(model):
            token = new_token()
        return Staging(model, name, token, self.folder / model / staged_name(name, token, STATE))

    def discard(self, staging: Staging) -> None:
        """Remove a staged state that is not wanted."""
        with suppress(OSError), self._root.look(staging.model, alone=True) as folder:
            if folder:
                folder.discard(staging.name, staging.token)

    def commit(self, staging: Staging, entry: Entry, text: str) -> Entry:
        """Let a staged state and its text count as the entry, in place of the one before.

        Sizes and checksums are filled in here; members of a newer version are taken over.
        """
        snapshot, data = entry.snapshot, _encode(text)
        assert snapshot is not None, "an entry without a state is made by put_prompt"
        assert entry.key == (staging.model, staging.name), "it was staged for another entry"
        try:
            size, digest = self._measure(staging)
            snapshot = replace(snapshot, size=size, state_sha256=digest)
            entry = replace(_with_text(entry, text), snapshot=snapshot, next_text=None)
            needed = _on_disk(size) + _on_disk(len(data)) + _on_disk(len(render(entry)))
            doing = f"write the cache {staging.model}/{staging.name}"
            with self._root.doing(doing, needed), self._root.change(staging.model) as folder:
                look = folder.find(staging.name)
                entry = _inherit(entry, look)
                if look and entry.source == "declared":
                    entry = replace(entry, hidden_text=_hidden_text(folder, look))
                folder.publish(entry, data, staging.token)
        except StorageError:
            self.discard(staging)
            raise
        self._book.note_written(entry.key, size + len(data))
        return entry

    def _measure(self, staging: Staging) -> tuple[int, str]:
        """Flush a staged state; its size and digest."""
        state = staged_name(staging.name, staging.token, STATE)
        disk, doing = self._root.disk, f"read the new state of {staging.model}/{staging.name}"
        with (
            self._root.doing(doing),
            disk.child(self._root.folder, staging.model) as folder,
        ):
            disk.sync(folder, state)
            facts = disk.facts(folder, state)
            return facts.st_size if facts else 0, disk.digest(folder, state)

    def put_prompt(
        self,
        model: ModelName,
        name: CacheName,
        text: str,
        now: float,
        *,
        origin: str = "",
        overwrite: bool = False,
    ) -> Entry:
        """Keep a client's prompt. Where a state is stored, it goes on serving its own text until
        the next one is committed."""
        data = _encode(text)
        check_name(name)
        with (
            self._root.doing(f"write the prompt {model}/{name}", 2 * _on_disk(len(data))),
            self._root.change(model) as folder,
        ):
            look = folder.find(name)
            if look and not overwrite:
                raise RequestError(Code.CACHE_EXISTS, f"the cache {model}/{name} exists")
            if isinstance(look, Found) and look.entry.snapshot:
                same = folder.text(look) == text
                entry = replace(
                    look.entry,
                    source="api",
                    origin=origin,
                    next_text=None if same else text,
                    hidden_text=None,
                )
                folder.publish(entry, None, new_token())
                return entry
            bare = _stateless(model, name, "api", origin, now)
            entry = _inherit(_with_text(bare, text), look)
            folder.publish(entry, data, new_token())
        return entry

    def change(self, model: ModelName, name: CacheName, **members: Any) -> Entry:
        """Rewrite members of an entry's JSON and leave its other two files alone."""
        with (
            self._root.doing(f"change the cache {model}/{name}"),
            self._root.change(model) as folder,
        ):
            look = folder.find(name)
            if not isinstance(look, Found):
                reason = look.reason if look else "there is none"
                raise NotFound(Code.UNKNOWN_CACHE, f"no cache {model}/{name}: {reason}")
            entry = replace(look.entry, **members)
            if entry != look.entry:
                folder.publish(entry, None, new_token())
        return entry

    def mark(self, model: ModelName, name: CacheName, state: State, reason: str) -> Entry:
        """Say what is known of an entry's state now."""
        return self.change(model, name, state=state, reason=reason)

    def quarantine(self, model: ModelName, name: CacheName, reason: str) -> Entry:
        """Never load this state again."""
        return self.mark(model, name, "quarantined", reason)

    def note_failure(self, bare: Entry, failure: Failure, text: str) -> Entry:
        """Remember that a build failed; `bare` and the text count where nothing is stored yet."""
        model, name = bare.key
        check_name(name)
        with (
            self._root.doing(f"change the cache {model}/{name}"),
            self._root.change(model) as folder,
        ):
            look = folder.find(name)
            if isinstance(look, Found):
                entry = replace(look.entry, failure=failure)
                folder.publish(entry, None, new_token())
            else:
                entry = replace(bare, state="broken", reason=failure.reason, failure=failure)
                entry = _inherit(_with_text(replace(entry, snapshot=None), text), look)
                folder.publish(entry, _encode(text), new_token())
        return entry

    def drop_state(self, model: ModelName, name: CacheName) -> Entry:
        """Let the state go to make room; the prompt's text stays."""
        return self.change(
            model,
            name,
            snapshot=None,
            verification=None,
            state="stale",
            reason=EVICTED,
            evicted=True,
        )

    def delete(self, model: ModelName, name: CacheName) -> None:
        """Remove an entry, or what is left of a damaged one."""
        with (
            self._root.doing(f"delete the cache {model}/{name}"),
            self._root.look(model, alone=True) as folder,
        ):
            if not folder or not folder.find(name):
                raise NotFound(Code.UNKNOWN_CACHE, f"no cache {model}/{name}")
            folder.delete(name)

    def withdraw(self, model: ModelName, name: CacheName, now: float) -> None:
        """A declared prompt is gone, and its entry; a client's prompt that it hid comes back."""
        look = self.find(model, name)
        entry = look.entry if isinstance(look, Damaged) else look
        if entry is None or entry.hidden_text is None:
            self.delete(model, name)
        else:
            self.put_prompt(model, name, entry.hidden_text, now, overwrite=True)

    def rename_model(self, old: ModelName, new: ModelName) -> None:
        """Give all entries of a model to its new name, which must have none."""
        check_name(new)
        if self.entries_of(new):
            raise RequestError(Code.CACHE_EXISTS, f"the model {new} has caches of its own")
        with (
            self._root.doing(f"rename the caches of {old} to {new}"),
            self._root.look(old, alone=True) as folder,
        ):
            if not folder:
                raise NotFound(Code.UNKNOWN_CACHE, f"the model {old} has no caches")
            self._root.disk.rename(self._root.folder, old, new)
            self._root.disk.sync_folder(self._root.folder)
        self._book.rename_model(old, new)

    # Usage

    def note_hit(self, model: ModelName, name: CacheName, now: float) -> None:
        """An entry was reused; kept in memory."""
        self._book.note_hit((model, name), now)

    def usage(self, model: ModelName, name: CacheName) -> Usage:
        """How an entry was used."""
        return self._book.of((model, name))

    def save_notes(self) -> None:
        """Write usage and findings where they changed; now and then, and at the end."""
        if self._book.changed:
            with self._root.doing("write the usage of the caches"):
                self._book.keep_only({look.key for look in self.entries()})
                self._root.replace_file(USAGE_FILE, self._book.render())
                self._book.changed = False
        if self.findings.changed:
            with self._root.doing("write what was found out about the models"):
                data = self.findings.render()
                self._root.replace_file(FINDINGS_FILE, data)
                self.findings.changed = self.findings.render() != data


def _bare(look: Found | Damaged) -> Entry | Damaged:
    return look.entry if isinstance(look, Found) else look


def _encode(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(Code.BAD_REQUEST, f"the prompt is no valid text: {error}") from error
    if len(data) > TEXT_BYTES_MAX:
        raise RequestError(
            Code.BAD_REQUEST, f"the prompt has {len(data)} bytes, allowed: {TEXT_BYTES_MAX}"
        )
    return data


def _on_disk(count: int) -> int:
    """What a file of this length takes up, in whole blocks."""
    return -(-count // BLOCK_BYTES) * BLOCK_BYTES + BLOCK_BYTES


def _with_text(entry: Entry, text: str) -> Entry:
    data = text.encode()
    sha256 = hashlib.sha256(data).hexdigest()
    return replace(entry, content_length=len(text), text_bytes=len(data), text_sha256=sha256)


def _stateless(model: ModelName, name: CacheName, source: Source, origin: str, now: float) -> Entry:
    return Entry(
        model_name=model,
        cache_name=name,
        created_at=now,
        source=source,
        origin=origin,
        state="stale",
        reason=NOT_BUILT,
    )


def _hidden_text(folder: ModelFolder, before: Found | Damaged) -> str | None:
    """The client's prompt that a declared one of the same name hides."""
    old = before.entry
    if old is None or old.source != "api":
        return old.hidden_text if old else None
    if old.next_text is not None:
        return old.next_text
    return before.text if isinstance(before, Damaged) else folder.text(before)


def _inherit(entry: Entry, look: Found | Damaged | None) -> Entry:
    """What is to survive a replacement: since when it is there, and what others wrote or want."""
    old = look.entry if look else None
    if old is None:
        return entry
    extra = {**old.extra, **entry.extra}
    return replace(entry, created_at=old.created_at, pinned=old.pinned, extra=extra)
