"""The disk says no at any step: the old entry serves, the error says why, a later try succeeds."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rkllmd.errors import Code, StorageError
from rkllmd.ids import CacheName
from rkllmd.promptcache.entry import Entry
from rkllmd.promptcache.store import Store
from tests.promptcache.samples import MODEL, NAME, NOTES, entry_of, put, state_of
from tests.promptcache.simdisk import UnflushedDisk

CODES = {
    errno.ENOSPC: (Code.STORAGE_FULL, "the disk is full"),
    errno.EDQUOT: (Code.STORAGE_FULL, "the disk is full"),
    errno.EROFS: (Code.PERMISSION_DENIED, "read-only"),
    errno.EACCES: (Code.PERMISSION_DENIED, "permission denied"),
    errno.EIO: (Code.INTERNAL, "Input/output error"),
}
CHANGING = ("make_child", "write", "sync", "sync_folder", "rename", "unlink")


class RefusingDisk(UnflushedDisk):
    """Refuses the calls from one on: one of them, or all that follow."""

    def __init__(self) -> None:
        self.calls = 0
        self.refuse_at: int | None = None
        self.number = errno.ENOSPC
        self.for_good = False

    def arm(self, at: int, number: int, *, for_good: bool) -> None:
        self.calls, self.refuse_at, self.number, self.for_good = 0, at, number, for_good

    def disarm(self) -> None:
        self.refuse_at = None

    @property
    def refused(self) -> bool:
        return self.refuse_at is not None and self.calls > self.refuse_at

    def _step(self) -> None:
        self.calls += 1
        if self.refused and (self.for_good or self.calls == (self.refuse_at or 0) + 1):
            raise OSError(self.number, os.strerror(self.number))


def _refusing(name: str) -> Callable[..., None]:
    def call(self: RefusingDisk, *arguments: object) -> None:
        self._step()
        getattr(UnflushedDisk, name)(self, *arguments)

    return call


for _name in CHANGING:
    setattr(RefusingDisk, _name, _refusing(_name))

OPERATIONS: dict[str, Callable[[Store], object]] = {
    "commit": lambda store: put(store, "new"),
    "first commit": lambda store: put(store, "new", name=CacheName("first")),
    "put": lambda store: store.put_prompt(MODEL, NAME, "new", 1.0, overwrite=True),
    "put a first one": lambda store: store.put_prompt(MODEL, CacheName("first"), "new", 1.0),
    "mark": lambda store: store.mark(MODEL, NAME, "broken", "because"),
    "drop": lambda store: store.drop_state(MODEL, NAME),
    "delete": lambda store: store.delete(MODEL, NAME),
}


def picture(store: Store) -> list[object]:
    return [
        (entry, store.text(*entry.key), path.read_bytes() if path else None)
        for entry in store.entries()
        for path in [store.state_path(*entry.key)]
    ]


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_refusal_at_any_call(name: str, number: int, for_good: bool, tmp_path: Path) -> None:
    operation = OPERATIONS[name]
    with Store(tmp_path / "unrefused") as store:
        put(store, "old")
        operation(store)
        done = picture(store)
    at = 0
    while True:
        disk = RefusingDisk()
        with Store(tmp_path / str(at), disk) as store:
            put(store, "old")
            before = picture(store)
            disk.arm(at, number, for_good=for_good)
            error = None
            try:
                operation(store)
            except StorageError as refusal:
                error = refusal
                check_error(error, number)
            finished = not disk.refused
            during = picture(store)
            disk.disarm()
            assert all(isinstance(entry, Entry) for entry in store.entries())
            # Where not even the undoing is allowed the change may count; it is whole.
            if error and name != "delete":
                assert during == before or (for_good and during == done)
            again(store, name)
            after = picture(store)
        with Store(tmp_path / str(at)) as store:
            assert picture(store) == after
            assert not [path for path in store.folder.rglob(".*") if path.name not in NOTES]
        if finished:
            break
        at += 1
    assert at > 2


def again(store: Store, name: str) -> None:
    put(store, "with space again")
    entry = store.find(MODEL, NAME)
    assert isinstance(entry, Entry)
    assert store.text(MODEL, NAME) == "with space again"


def check_error(error: StorageError, number: int) -> None:
    code, words = CODES[number]
    assert error.code == code
    assert words in error.message
    assert isinstance(error.__cause__, OSError)
    if code is Code.STORAGE_FULL:
        assert error.details["free_bytes"] > 0
        assert error.details["needed_bytes"] >= 0


@pytest.mark.parametrize("number", CODES, ids=errno.errorcode.get)
def test_each_refusal_has_its_code(number: int, tmp_path: Path) -> None:
    disk = RefusingDisk()
    with Store(tmp_path, disk) as store:
        put(store, "old")
        disk.arm(0, number, for_good=True)
        with pytest.raises(StorageError) as caught:
            store.mark(MODEL, NAME, "broken", "because")
        check_error(caught.value, number)
        disk.disarm()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 pages. The refusals above need none, so its lack hides nothing."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0750", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    filler = small_disk / "filler"
    text = "x" * 20_000
    outcomes = set()
    with Store(small_disk / "cache") as store:
        put(store, "old")
        for pages in range(16):
            filler.unlink(missing_ok=True)
            fill(filler, free_pages=pages)
            outcome = try_commit(store, text)
            outcomes.add(outcome)
            filler.unlink()
            assert (store.text(MODEL, NAME) == text) is (outcome == "written")
            put(store, "old")
            assert sorted(path.name for path in (store.folder / MODEL).iterdir()) == [
                "system.bin", "system.json", "system.rkllm_cache"
            ]  # fmt: skip
    assert outcomes == {"no room for the state", "no room for the rest", "written"}


def try_commit(store: Store, text: str) -> str:
    staging = store.stage(MODEL, NAME)
    error = None
    try:
        staging.path.write_bytes(state_of("short") * 200)
        store.commit(staging, entry_of(), text)
    except OSError:
        store.discard(staging)
        outcome = "no room for the state"
    except StorageError as refusal:
        error, outcome = refusal, "no room for the rest"
    else:
        return "written"
    if error:
        assert error.code == Code.STORAGE_FULL
        assert error.details["free_bytes"] < error.details["needed_bytes"]
    found = store.find(MODEL, NAME)
    assert isinstance(found, Entry)
    assert found.usable
    assert store.text(MODEL, NAME) == "old"
    return outcome


def fill(path: Path, free_pages: int) -> None:
    """Take all space but some pages."""
    facts = os.statvfs(path.parent)
    path.write_bytes(b"\0" * max(0, facts.f_bavail - free_pages) * facts.f_frsize)
