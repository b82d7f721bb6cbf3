"""The store does what a dictionary would do, and touches nothing that is not its own."""

import errno
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rkllmd.errors import Code, NotFound, RequestError, StorageError
from rkllmd.ids import CacheName, ModelName
from rkllmd.promptcache.entry import Entry, Failure
from rkllmd.promptcache.store import Store
from tests.promptcache.samples import MODEL, NAME, entry_of, put, snapshot_of, state_of
from tests.promptcache.simdisk import UnflushedDisk

HOSTILE = ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\0b", ".hidden", "x" * 65, "naïve", "a\n"]


@pytest.fixture
def store(tmp_path: Path):
    with Store(tmp_path / "cache", UnflushedDisk()) as store:
        yield store


def test_an_entry_comes_back_as_it_was_committed(store: Store) -> None:
    entry = put(store, "prömpt")
    assert store.find(MODEL, NAME) == entry
    assert entry.usable
    assert entry.content_length == 6
    assert entry.text_bytes == 7
    assert store.text(MODEL, NAME) == "prömpt"
    path = store.state_path(MODEL, NAME)
    assert path == store.folder / MODEL / "system.rkllm_cache"
    assert path.read_bytes() == state_of("prömpt")
    assert sorted(path.name for path in (store.folder / MODEL).iterdir()) == [
        "system.bin", "system.json", "system.rkllm_cache"
    ]  # fmt: skip
    tag = (store.folder / "CACHEDIR.TAG").read_text()
    assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55\n")


def test_what_is_staged_is_not_there_yet(store: Store) -> None:
    put(store, "old")
    staging = store.stage(MODEL, NAME)
    staging.path.write_bytes(b"half a sta")
    assert store.text(MODEL, NAME) == "old"
    assert [entry.cache_name for entry in store.entries()] == [NAME]
    store.discard(staging)
    assert not staging.path.exists()


def test_a_state_that_was_never_written(store: Store) -> None:
    staging = store.stage(MODEL, NAME)
    with pytest.raises(StorageError, match="read the new state"):
        store.commit(staging, entry_of(), "prompt")
    assert store.find(MODEL, NAME) is None


def test_members_of_a_newer_version_survive_every_rewrite(store: Store) -> None:
    put(store, "one", extra={"colour": "blue"})
    store.mark(MODEL, NAME, "stale", "because")
    put(store, "two")
    store.drop_state(MODEL, NAME)
    entry = store.put_prompt(MODEL, NAME, "three", 1.0, overwrite=True)
    assert entry.extra == {"colour": "blue"}
    assert store.find(MODEL, NAME) == entry


def test_a_clients_prompt_lives_before_and_beside_its_state(store: Store) -> None:
    name = CacheName("kitchen")
    entry = store.put_prompt(MODEL, name, "first", 5.0, origin="uid 1000")
    assert (entry.state, entry.source, entry.created_at) == ("stale", "api", 5.0)
    assert not entry.usable
    assert store.state_path(MODEL, name) is None
    with pytest.raises(RequestError) as caught:
        store.put_prompt(MODEL, name, "second", 6.0)
    assert caught.value.code == Code.CACHE_EXISTS
    assert store.prompts(MODEL) == {name: "first"}

    put(store, "first", name=name, source="api")
    store.put_prompt(MODEL, name, "second", 6.0, overwrite=True)
    found = store.find(MODEL, name)
    assert isinstance(found, Entry)
    assert found.usable
    assert store.text(MODEL, name) == "first"
    assert store.prompts(MODEL) == {name: "second"}
    put(store, "second", name=name, source="api")
    assert store.text(MODEL, name) == "second"
    assert store.prompts(MODEL) == {name: "second"}


def test_a_clients_prompt_survives_damage_of_its_state(store: Store) -> None:
    put(store, "mine", source="api")
    (store.folder / MODEL / "system.rkllm_cache").unlink()
    assert store.prompts(MODEL) == {NAME: "mine"}


def test_dropping_a_state_keeps_the_text(store: Store) -> None:
    put(store, "mine", source="api")
    entry = store.drop_state(MODEL, NAME)
    assert entry.evicted
    assert store.find(MODEL, NAME) == entry
    assert store.prompts(MODEL) == {NAME: "mine"}
    assert not (store.folder / MODEL / "system.rkllm_cache").exists()


def test_a_failure_is_noted_with_and_without_an_entry(store: Store) -> None:
    failure = Failure(fingerprint="0" * 64, at=3.0, attempts=1, reason="the engine said no")
    bare = entry_of("wanted")
    first = store.note_failure(bare, failure, "wanted")
    assert (first.state, first.reason, first.snapshot) == ("broken", "the engine said no", None)
    assert store.text(MODEL, NAME) == "wanted"
    put(store, "old")
    second = store.note_failure(bare, failure, "wanted")
    assert second.usable
    assert second.failure == failure
    assert store.text(MODEL, NAME) == "old"


def test_usage_is_kept_beside_the_entries(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        put(store, "prompt")
        written = store.usage(MODEL, NAME).bytes_written
        assert written == len("prompt") + len(state_of("prompt"))
        json = (tmp_path / MODEL / "system.json").stat()
        store.note_hit(MODEL, NAME, 10.0)
        store.note_hit(MODEL, NAME, 20.0)
        store.note_hit(MODEL, CacheName("unknown"), 20.0)
        store.rename_model(MODEL, ModelName("renamed"))
    with Store(tmp_path) as store:
        usage = store.usage(ModelName("renamed"), NAME)
        assert (usage.hits, usage.last_used_at, usage.bytes_written) == (2, 20.0, written)
        assert store.usage(ModelName("renamed"), CacheName("unknown")).hits == 0
        assert (tmp_path / "renamed" / "system.json").stat().st_mtime_ns == json.st_mtime_ns
    for damage in (b"", b"[]", b'{"entries": {"../x": {}}}', b"[" * 99999):
        (tmp_path / ".usage.json").write_bytes(damage)
        with Store(tmp_path) as store:
            assert store.usage(ModelName("renamed"), NAME).hits == 0


def test_renaming_a_model(store: Store) -> None:
    put(store, "prompt")
    new = ModelName("renamed")
    store.rename_model(MODEL, new)
    assert store.find(MODEL, NAME) is None
    found = store.find(new, NAME)
    assert isinstance(found, Entry)
    assert found.key == (new, NAME)
    with pytest.raises(NotFound):
        store.rename_model(MODEL, ModelName("other"))
    put(store, "prompt")
    with pytest.raises(RequestError, match="has caches of its own"):
        store.rename_model(MODEL, new)


def test_a_start_sweeps_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        put(store, "prompt")
        store.stage(MODEL, NAME).path.write_bytes(b"a build that was killed")
    folder = tmp_path / MODEL
    foreign = [folder / name for name in ("notes.txt", ".hidden", ".a.b", ".x.0123.bin", "sub")]
    for path in foreign:
        path.write_text("mine")
    (tmp_path / "README").write_text("mine")
    (folder / f".x.{'0' * 16}.json").write_text("{")
    (folder / f".x.{'0' * 16}.bin").write_text("text")
    (tmp_path / ".usage.json.new").write_text("{")
    store = Store(tmp_path)
    report = store.open()
    store.close()
    assert (report.finished, report.removed, report.problems) == (0, 4, ())
    assert all(path.read_text() == "mine" for path in [*foreign, tmp_path / "README"])
    assert len(list(folder.iterdir())) == len(foreign) + 3


def test_only_one_who_is_alone_sweeps(tmp_path: Path) -> None:
    with Store(tmp_path) as one:
        put(one, "prompt")
        staging = one.stage(MODEL, NAME)
        staging.path.write_bytes(state_of("next"))
        with Store(tmp_path) as other:
            assert staging.path.exists()
            assert other.text(MODEL, NAME) == "prompt"
            one.commit(staging, entry_of("next"), "next")
            assert other.text(MODEL, NAME) == "next"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused(store: Store, name: Any) -> None:
    put(store, "prompt")
    calls = [
        lambda: store.stage(name, NAME),
        lambda: store.stage(MODEL, name),
        lambda: store.put_prompt(name, NAME, "x", 1.0),
        lambda: store.put_prompt(MODEL, name, "x", 1.0),
        lambda: store.rename_model(MODEL, name),
        lambda: store.rename_model(name, ModelName("x")),
        lambda: store.find(name, NAME),
        lambda: store.delete(name, NAME),
        lambda: store.note_failure(
            replace(entry_of(), cache_name=name),
            Failure(fingerprint="0" * 64, at=1.0, attempts=1, reason=""),
            "x",
        ),
    ]
    for call in calls:
        with pytest.raises(RequestError):
            call()
    assert store.find(MODEL, name) is None
    with pytest.raises(NotFound):
        store.delete(MODEL, name)
    assert len(list(store.folder.parent.iterdir())) == 1


@pytest.mark.parametrize("text", ["\ud800", "x" * ((4 << 20) + 1)], ids=["surrogate", "long"])
def test_texts_that_cannot_be_kept(store: Store, text: str) -> None:
    with pytest.raises(RequestError):
        store.put_prompt(MODEL, NAME, text, 1.0)
    assert store.entries() == []


def test_links_are_not_followed(store: Store) -> None:
    outside = store.folder.parent / "outside"
    outside.mkdir()
    (store.folder / MODEL).symlink_to(outside)
    assert store.models() == []
    assert store.find(MODEL, NAME) is None
    for call in (
        lambda: store.stage(MODEL, NAME),
        lambda: store.put_prompt(MODEL, NAME, "x", 1.0),
    ):
        with pytest.raises(StorageError, match="a link or file is where"):
            call()
    (store.folder / MODEL).unlink()

    target = outside / "target"
    target.write_text("precious")
    staging = store.stage(MODEL, NAME)
    staging.path.symlink_to(target)
    with pytest.raises(StorageError):
        store.commit(staging, entry_of(), "prompt")
    assert not staging.path.is_symlink()
    for ending in ("bin", "rkllm_cache", "json"):
        (store.folder / MODEL / f"system.{ending}").symlink_to(target)
    put(store, "prompt")
    assert isinstance(store.find(MODEL, NAME), Entry)
    assert target.read_text() == "precious"
    assert list(outside.iterdir()) == [target]


def test_the_root_may_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "cache").symlink_to("real")
    with Store(tmp_path / "cache") as store:
        put(store, "prompt")
    assert (tmp_path / "real" / MODEL / "system.json").exists()


def test_another_folder_at_the_path_is_followed(tmp_path: Path) -> None:
    with Store(tmp_path / "cache") as store:
        put(store, "old")
        (tmp_path / "cache").rename(tmp_path / "away")
        store.follow()
        assert store.entries() == []
        put(store, "new")
        assert store.text(MODEL, NAME) == "new"
        shutil.rmtree(tmp_path / "cache")
        (tmp_path / "cache").write_text("no folder")
        with pytest.raises(StorageError):
            store.follow()
        (tmp_path / "cache").unlink()
        (tmp_path / "away").rename(tmp_path / "cache")
        store.follow()
        assert store.text(MODEL, NAME) == "old"


def test_opened_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="open the cache folder"):
        Store(tmp_path / "file").open()
    with pytest.raises(StorageError):
        Store(tmp_path / "file" / "cache").open()


def test_a_failed_open_holds_nothing(tmp_path: Path) -> None:
    class Unlockable(UnflushedDisk):
        def lock(self, folder: int, *, alone: bool, wait: bool = True) -> bool:
            raise OSError(errno.ENOLCK, "No locks available")

    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(StorageError, match="No locks available"):
        Store(tmp_path, Unlockable()).open()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_one_unreadable_folder_hides_no_other(tmp_path: Path) -> None:
    class Unreadable(UnflushedDisk):
        def names(self, folder: int) -> list[str]:
            if Path(f"/proc/self/fd/{folder}").readlink().name == "locked":
                raise PermissionError(errno.EACCES, "Permission denied")
            return super().names(folder)

    with Store(tmp_path) as store:
        put(store, "prompt")
    (tmp_path / "locked").mkdir()
    store = Store(tmp_path, Unreadable())
    problems = store.open().problems
    assert problems == (f"{tmp_path}/locked: Permission denied",)
    assert [entry.key for entry in store.entries()] == [(MODEL, NAME)]
    with pytest.raises(StorageError, match="permission denied"):
        store.entries_of(ModelName("locked"))
    store.close()


def test_readers_see_old_or_new_while_it_is_replaced(store: Store) -> None:
    put(store, "0")
    seen: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(store.find(MODEL, NAME))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(30):
        put(store, str(turn))
    done.set()
    reader.join()
    assert seen
    assert all(isinstance(entry, Entry) for entry in seen), seen


def test_a_killed_process_leaves_old_or_new(tmp_path: Path) -> None:
    """Builds in another process until it is killed in the middle of it."""
    with Store(tmp_path) as store:
        put(store, "old")
    program = f"""
from pathlib import Path
from tests.promptcache.samples import put
from rkllmd.promptcache.store import Store
with Store(Path({str(tmp_path)!r})) as store:
    for turn in range(10**9):
        put(store, str(turn))
        print(turn, flush=True)
"""
    for stop_at in (0, 3, 7):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
            assert process.stdout
            for _ in range(stop_at + 1):
                process.stdout.readline()
            process.kill()
        with Store(tmp_path) as store:
            (entry,) = store.entries()
            assert isinstance(entry, Entry)
            assert int(store.text(MODEL, NAME) or "") >= stop_at
            assert len(list((tmp_path / MODEL).iterdir())) == 3


models = st.sampled_from([ModelName("a"), ModelName("b")])
names = st.sampled_from([CacheName("system"), CacheName("x.json"), CacheName("x")])
texts = st.text(max_size=5).filter(lambda text: text.isprintable())


class StoreMachine(RuleBasedStateMachine):
    """A store beside a dictionary of what it should hold."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name), UnflushedDisk())
        self.store.open()
        self.expected: dict[tuple[str, str], dict[str, Any]] = {}

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(model=models, name=names, text=texts)
    def build(self, model: ModelName, name: CacheName, text: str) -> None:
        put(self.store, text, model, name, source="api")
        self.expected[model, name] = {"text": text, "state": state_of(text), "next": None}

    @rule(model=models, name=names, text=texts)
    def put_prompt(self, model: ModelName, name: CacheName, text: str) -> None:
        self.store.put_prompt(model, name, text, 1.0, overwrite=True)
        old = self.expected.get((model, name))
        if old and old["state"] is not None:
            old["next"] = None if old["text"] == text else text
        else:
            self.expected[model, name] = {"text": text, "state": None, "next": None}

    @rule(model=models, name=names)
    def stage_and_leave(self, model: ModelName, name: CacheName) -> None:
        self.store.stage(model, name).path.write_bytes(b"unfinished")

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def change_one(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.expected)))
        match data.draw(st.sampled_from(["delete", "drop", "mark"])):
            case "delete":
                self.store.delete(*key)
                del self.expected[key]
            case "drop":
                self.store.drop_state(*key)
                self.expected[key]["state"] = None
            case _:
                self.store.quarantine(*key, "because")

    @rule(old=models, new=models)
    def rename(self, old: ModelName, new: ModelName) -> None:
        has = {model for model, _ in self.expected}
        if old in has and new not in has and self._has_no_leftovers(new):
            self.store.rename_model(old, new)
            self.expected = {
                (new if model == old else model, name): one
                for (model, name), one in self.expected.items()
            }

    def _has_no_leftovers(self, model: ModelName) -> bool:
        folder = self.store.folder / model
        return not folder.exists() or not list(folder.iterdir())

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = Store(self.store.folder, UnflushedDisk())
        assert not self.store.open().problems

    @invariant()
    def holds_what_is_expected(self) -> None:
        entries = self.store.entries()
        assert sorted(entry.key for entry in entries) == sorted(self.expected)
        for entry in entries:
            assert isinstance(entry, Entry)
            expected = self.expected[entry.key]
            path = self.store.state_path(*entry.key)
            assert self.store.text(*entry.key) == expected["text"]
            assert (path.read_bytes() if path else None) == expected["state"]
            assert entry.next_text == expected["next"]
            if path:
                snapshot = snapshot_of(expected["text"])
                assert entry.snapshot
                assert entry.snapshot.prefix == snapshot.prefix


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
