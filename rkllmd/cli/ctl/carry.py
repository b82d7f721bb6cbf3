"""cache export and import: an entry as one file, for boards that are alike.

The file is a tar archive of three members, `NAME.json` (the entry as it is stored, which has the
checksums of the others), `text` and `state`. What is imported counts as unverified until the
daemon's canaries have proved it here; what was made from another model file, engine or template is
refused or, where only the daemon can tell, built anew by it, which the command reports.

The files are read and written in the cache folder itself, so this runs as root, who then acts as
the folder's owner, or as rkllmd.
"""

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from rkllmd.cli.ctl.command import Context
from rkllmd.cli.ctl.replies import ask, say
from rkllmd.cli.ctl.screen import size
from rkllmd.cli.ctl.settings import read
from rkllmd.errors import Code, NotFound, RequestError, StorageError
from rkllmd.ids import CacheName, ModelName
from rkllmd.promptcache.entry import JSON_BYTES_MAX, TEXT_BYTES_MAX, BadEntryError, Entry, parse
from rkllmd.promptcache.entry import render as render_entry
from rkllmd.promptcache.store import Store

ENTRY, TEXT, STATE = ".json", "text", "state"
NOT_AS_SENT = 1
BLOCK_BYTES = 1 << 20


def send(context: Context) -> None:
    """Write an entry to a file."""
    options = context.options
    model, name = ModelName(options.model), CacheName(options.name)
    target = Path(options.file)
    if target.is_dir():
        raise RequestError(Code.BAD_REQUEST, f"file: found the folder {target}, allowed: a file")
    staged = target.with_name(f".{target.name}.new")
    try:
        # Opened before the store: the file is the caller's, the store its owner's.
        with staged.open("wb") as file, _store(context) as store:
            _pack(file, store, model, name)
        staged.replace(target)
    except OSError as error:
        raise StorageError(Code.STORAGE_FULL, f"cannot write {target}: {error}") from error
    finally:
        staged.unlink(missing_ok=True)
    written = target.stat().st_size
    say(
        context,
        {"file": str(target), "model": model, "name": name, "size": written},
        f"{model}/{name}: {size(written)} in {target}",
    )


def _pack(file: IO[bytes], store: Store, model: ModelName, name: CacheName) -> None:
    entry, text = store.find(model, name), store.text(model, name)
    path = store.state_path(model, name)
    if not isinstance(entry, Entry) or text is None or path is None:
        raise NotFound(Code.UNKNOWN_CACHE, f"there is no whole cache {model}/{name}")
    with tarfile.open(fileobj=file, mode="w") as archive:
        _add(archive, name + ENTRY, render_entry(entry))
        _add(archive, TEXT, text.encode())
        archive.add(path, STATE, recursive=False, filter=_nobodys)


def receive(context: Context) -> int:
    """Take an entry from a file, and let the daemon prove it."""
    options = context.options
    try:
        with tarfile.open(options.file, "r:") as archive:  # an exported file is not compressed
            entry, text = _read_entry(archive)
            if options.model:
                entry = replace(entry, model_name=ModelName(options.model))
            context.client.call("model.show", model=entry.model_name)  # it has to be here
            _check_fit(context, entry)
            _put(context, archive, entry, text)
    except (OSError, tarfile.TarError, KeyError, UnicodeDecodeError, BadEntryError) as error:
        raise RequestError(
            Code.BAD_REQUEST, f"{options.file} is no exported cache: {error}"
        ) from error
    return _prove(context, entry)


def _read_entry(archive: tarfile.TarFile) -> tuple[Entry, str]:
    first = archive.getnames()[:1]
    if not first or not first[0].endswith(ENTRY):
        raise BadEntryError("it does not begin with an entry")
    entry = parse(_content(archive, first[0], JSON_BYTES_MAX), first[0].removesuffix(ENTRY))
    data = _content(archive, TEXT, TEXT_BYTES_MAX)
    if hashlib.sha256(data).hexdigest() != entry.text_sha256:
        raise BadEntryError("its text does not fit its checksum")
    if entry.snapshot is None:
        raise BadEntryError("it has no state")
    with _member(archive, STATE) as file:
        digest = hashlib.sha256()
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
        if digest.hexdigest() != entry.snapshot.state_sha256:
            raise BadEntryError("its state does not fit its checksum")
    return entry, data.decode()


def _check_fit(context: Context, entry: Entry) -> None:
    """Refuse what cannot fit the model here, as far as an entry of that model tells."""
    assert entry.snapshot is not None, "it was checked when it was read"
    with _store(context) as store:
        for other in store.entries_of(entry.key[0]):
            if not isinstance(other, Entry) or other.snapshot is None or other.state != "verified":
                continue
            if not entry.snapshot.ingredients.fits_model_of(other.snapshot.ingredients):
                raise RequestError(
                    Code.BAD_REQUEST,
                    f"the cache was made from another model file, engine, template or context than"
                    f" {entry.model_name} has here",
                )


def _put(context: Context, archive: tarfile.TarFile, entry: Entry, text: str) -> None:
    entry = replace(entry, state="unverified", reason="imported", verification=None, failure=None)
    with _store(context) as store:
        staging = store.stage(*entry.key)
        try:
            with _member(archive, STATE) as source:
                _write(staging.path, source)
            store.commit(staging, entry, text)
        except BaseException:
            store.discard(staging)
            raise


def _write(path: Path, source: IO[bytes]) -> None:
    try:
        with path.open("wb") as target:
            shutil.copyfileobj(source, target)
    except OSError as error:  # what was read once can be read again
        raise StorageError(Code.STORAGE_FULL, f"cannot write {path}: {error.strerror}") from error


def _prove(context: Context, sent: Entry) -> int:
    assert sent.snapshot is not None, "it was checked when it was read"
    model, name = sent.key
    ask(context, "cache.build", model=model)
    (here,) = context.client.call("cache.show", model=model, name=name)["caches"]
    as_sent = here["fingerprint"] == sent.snapshot.fingerprint
    proved = as_sent and here["state"] == "verified" and here["built_at"] == sent.snapshot.built_at
    say(
        context,
        {"model": model, "name": name, "proved": proved, "state": here["state"],
         "reason": here["reason"]},
        f"{model}/{name}: "
        + ("proved" if proved else f"not taken as it was sent; here it is {here['state']}"
           f"{' (' + here['reason'] + ')' if here['reason'] else ''}"),
    )  # fmt: skip
    return 0 if proved else NOT_AS_SENT


@contextmanager
def _store(context: Context) -> Iterator[Store]:
    """The daemon's store, as the user whose it is."""
    folder = Path(read(context.options.config).config.paths.cache)
    user, group = os.geteuid(), os.getegid()
    try:
        if user == 0:
            owner = folder.stat()
            os.setegid(owner.st_gid)
            os.seteuid(owner.st_uid)
        with Store(folder) as store:
            yield store
    except FileNotFoundError as error:
        raise NotFound(
            Code.UNKNOWN_CACHE, f"there is no cache folder {error.filename}; --config names another"
        ) from error
    except PermissionError as error:
        raise RequestError(
            Code.PERMISSION_DENIED, f"{folder} is the daemon's; run this as root ({error})"
        ) from error
    finally:
        os.seteuid(user)
        os.setegid(group)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member


def _content(archive: tarfile.TarFile, name: str, bytes_max: int) -> bytes:
    with _member(archive, name) as file:
        return file.read(bytes_max)


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    member = archive.getmember(name)
    file = archive.extractfile(member) if member.isreg() else None
    if file is None:
        raise BadEntryError(f"{name} is no file")
    return file
