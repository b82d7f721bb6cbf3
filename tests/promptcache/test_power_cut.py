"""The power fails before each single call to the file system; a new start finds old or new."""

import itertools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rkllmd.ids import CacheName, ModelName
from rkllmd.promptcache.entry import Entry, Failure
from rkllmd.promptcache.store import Store
from tests.promptcache.samples import INGREDIENTS, MODEL, NAME, NOTES, entry_of, put, state_of
from tests.promptcache.simdisk import PowerCut, SimDisk, UnflushedDisk

Story = Callable[[Store, SimDisk], None]
Contents = dict[str, object]

OTHER = CacheName("kitchen")


def build(text: str) -> Story:
    def story(store: Store, disk: SimDisk) -> None:
        staging = store.stage(MODEL, NAME)
        staging.path.write_bytes(state_of(text))
        disk.wrote(staging.path)
        store.commit(staging, entry_of(text), text)

    return story


def mark(store: Store, _disk: SimDisk) -> None:
    store.mark(MODEL, NAME, "broken", "because")


def delete(store: Store, _disk: SimDisk) -> None:
    store.delete(MODEL, NAME)


def drop_state(store: Store, _disk: SimDisk) -> None:
    store.drop_state(MODEL, NAME)


def rename(store: Store, _disk: SimDisk) -> None:
    store.rename_model(MODEL, ModelName("renamed"))


def put_prompt(text: str, name: CacheName = OTHER, model: ModelName = MODEL) -> Story:
    return lambda store, _disk: store.put_prompt(model, name, text, 1.0, overwrite=True)


def note_failure(text: str, name: CacheName) -> Story:
    failure = Failure(fingerprint="0" * 64, at=3.0, attempts=1, reason="no memory")
    return lambda store, _disk: store.note_failure(entry_of(text, name=name), failure, text)


def withdraw(store: Store, _disk: SimDisk) -> None:
    store.withdraw(MODEL, NAME, 1.0)


def use(store: Store, _disk: SimDisk) -> None:
    store.note_hit(MODEL, NAME, 5.0)
    store.findings.note_limit(INGREDIENTS, 4096)
    store.save_notes()


STORIES: dict[str, list[Story]] = {
    "build": [build("new text")],
    "build the same again": [build("old text")],
    "build twice": [build("one"), build("two")],
    "mark": [mark],
    "mark, then delete": [mark, delete],
    "delete": [delete],
    "delete, then build": [delete, build("new text")],
    "drop the state": [drop_state],
    "drop the state, then build": [drop_state, build("new text")],
    "put a prompt": [put_prompt("text")],
    "put a prompt over a state": [put_prompt("text", NAME)],
    "put two prompts": [put_prompt("text"), put_prompt("text of another length")],
    "rename": [rename],
    "note a failure": [note_failure("new text", NAME)],
    "note a failure of a new one": [note_failure("new text", OTHER)],
    "hide a client's prompt, and give it back": [
        put_prompt("a client's", NAME),
        build("a file's"),
        withdraw,
    ],
    "quarantine": [lambda store, _disk: store.quarantine(MODEL, NAME, "it kills")],
    "use, and write that down": [use, use],
    "first of a model": [put_prompt("text", NAME, ModelName("other"))],
}


def contents(store: Store) -> Contents:
    """Everything that a store says and what its files hold; must have no damage."""
    said: Contents = {}
    for entry in store.entries():
        assert isinstance(entry, Entry), entry
        path = store.state_path(*entry.key)
        said["/".join(entry.key)] = (
            entry,
            store.text(*entry.key),
            path.read_bytes() if path else None,
        )
    return said


def prepare(folder: Path) -> None:
    with Store(folder, UnflushedDisk()) as store:
        put(store, "old text")
        put(store, "bystander", name=CacheName("bystander"))


def before_and_after(folder: Path, story: list[Story]) -> list[Contents]:
    """What may be found: the contents before, between and after the story's operations."""
    prepare(folder)
    disk = SimDisk(folder)
    with Store(folder, disk) as store:
        seen = [contents(store)]
        for step in story:
            step(store, disk)
            seen.append(contents(store))
    return seen


@pytest.mark.parametrize("title", STORIES)
def test_a_cut_before_any_call_leaves_old_or_new(title: str, tmp_path: Path) -> None:
    story = STORIES[title]
    allowed = normalized(before_and_after(tmp_path / "uncut", story))
    cut_at = 0
    while True:
        folder = tmp_path / f"live{cut_at}"
        prepare(folder)
        disk = SimDisk(folder, cut_at)
        store = Store(folder, disk)
        try:
            store.open()
            for step in story:
                step(store, disk)
            allowed = allowed[-1:]  # What was said to be done is not lost.
        except PowerCut:
            pass
        finally:
            store._root.close()
        when = f"{title}, cut after {cut_at} calls: {disk.calls}"
        looks = set()
        for number, make in enumerate(disk.aftermaths(cut_at)):
            crashed = tmp_path / f"crashed{cut_at}-{number}"
            make(crashed)
            if (look := frozenset(tree(crashed).items())) not in looks:
                looks.add(look)
                check_restart(crashed, allowed, when)
        if len(allowed) == 1:
            break
        cut_at += 1


@pytest.mark.parametrize("title", ["build", "delete"])
def test_a_cut_while_a_start_mends_what_a_cut_left(title: str, tmp_path: Path) -> None:
    story = STORIES[title]
    allowed = normalized(before_and_after(tmp_path / "uncut", story))
    calls = 0
    for cut_at in itertools.count():
        live = tmp_path / f"live{cut_at}"
        prepare(live)
        disk = SimDisk(live, cut_at)
        store = Store(live, disk)
        is_cut = False
        try:
            store.open()
            for step in story:
                step(store, disk)
        except PowerCut:
            is_cut = True
        finally:
            store._root.close()
        if not is_cut:
            break
        looks = set()
        for second in itertools.count():
            mended = tmp_path / f"mended{cut_at}-{second}"
            shutil.copytree(live, mended)
            again = SimDisk(mended, second)
            start = Store(mended, again)
            try:
                start.open()
            except PowerCut:
                calls += 1
            else:
                break
            finally:
                start._root.close()
            when = f"{title}, cut after {disk.calls}, and its start after {again.calls}"
            for number, make in enumerate(again.aftermaths(second)):
                make(crashed := tmp_path / f"crashed{cut_at}-{second}-{number}")
                if (look := frozenset(tree(crashed).items())) not in looks:
                    looks.add(look)
                    check_restart(crashed, allowed, when)
    assert calls > 5, "a start had something to mend"


def check_restart(folder: Path, allowed: list[Contents], when: str) -> None:
    with Store(folder, UnflushedDisk()) as store:
        found = normalized([contents(store)])[0]
        assert found in allowed, when
        leftovers = [path.name for path in folder.rglob(".*") if path.name not in NOTES]
        assert leftovers == [], when
        orphans = files_without_entry(folder)
        assert orphans == [], when
        put(store, "after the crash")
        contents(store)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"a folder"
        for path in folder.rglob("*")
    }


def files_without_entry(folder: Path) -> list[str]:
    return [
        path.name
        for path in folder.rglob("*.*")
        if path.name not in {"CACHEDIR.TAG", *NOTES} and not path.with_suffix(".json").exists()
    ]


def normalized(all_contents: list[Contents]) -> list[Contents]:
    """Contents as texts, to be compared and shown."""
    return [
        {key: re.sub(r"\s+", " ", repr(value)) for key, value in one.items()}
        for one in all_contents
    ]
