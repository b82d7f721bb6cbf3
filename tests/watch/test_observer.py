"""Every way in which people and programs change files, on a real file system."""

import asyncio
import errno
import logging
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers.polling import PollingObserver

from rkllmd.watch import observer
from rkllmd.watch.folders import Tree
from rkllmd.watch.observer import FolderWatch


class Ears:
    """Hears changes."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Path] = asyncio.Queue()

    async def hear(self) -> Path:
        async with asyncio.timeout(20):
            return await self.heard.get()

    def forget(self) -> None:
        while not self.heard.empty():
            self.heard.get_nowait()

    async def hear_of(self, folder: Path) -> None:
        while await self.hear() != folder:
            pass


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(observer, "BATCH_SECONDS", 0.01)


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = {thread for thread in threading.enumerate() if "asyncio" not in thread.name}
    yield
    after = {thread for thread in threading.enumerate() if "asyncio" not in thread.name}
    assert after <= before


@pytest.fixture(params=["native", "polling"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "polling":
        monkeypatch.setattr(observer, "open_native", observer.open_polling)
    return str(request.param)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "m").mkdir(parents=True)
    (folder / "m" / "model.gguf").write_bytes(b"weights")
    return folder


@asynccontextmanager
async def listening(*folders: Path, depth: int = 1) -> AsyncIterator[Ears]:
    ears = Ears()
    async with FolderWatch([Tree(folder, depth) for folder in folders], ears.heard.put_nowait):
        yield ears


def in_place(models: Path) -> None:
    with (models / "m" / "model.gguf").open("ab") as file:
        file.write(b"more")


def write_and_rename(models: Path) -> None:
    (models / "m" / ".model.gguf.tmp").write_bytes(b"other weights")
    (models / "m" / ".model.gguf.tmp").rename(models / "m" / "model.gguf")


def touch(models: Path) -> None:
    os.utime(models / "m" / "model.gguf", (1, 1))


def remove_file(models: Path) -> None:
    (models / "m" / "model.gguf").unlink()


def add_file(models: Path) -> None:
    (models / "m" / "model.yaml").write_text("context: 64")


def rename_folder(models: Path) -> None:
    (models / "m").rename(models / "n")


def remove_folder(models: Path) -> None:
    shutil.rmtree(models / "m")


def add_folder(models: Path) -> None:
    (models / "n").mkdir()


def move_folder_in(models: Path) -> None:
    made = models.with_name("made")
    made.mkdir()
    (made / "model.gguf").write_bytes(b"weights")
    made.rename(models / "n")


def move_folder_out(models: Path) -> None:
    (models / "m").rename(models.with_name("out"))


def add_symlink(models: Path) -> None:
    (models / "n").symlink_to("m")


def remove_all(models: Path) -> None:
    shutil.rmtree(models)


def rename_all(models: Path) -> None:
    models.rename(models.with_name("other"))


def replace_all(models: Path) -> None:
    shutil.rmtree(models)
    models.mkdir()


CHANGES = [
    in_place,
    write_and_rename,
    touch,
    remove_file,
    add_file,
    rename_folder,
    remove_folder,
    add_folder,
    move_folder_in,
    move_folder_out,
    add_symlink,
    remove_all,
    rename_all,
    replace_all,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
async def test_every_change_is_heard_and_so_is_a_new_model_after_it(
    models: Path, kind: str, change: Callable[[Path], None]
) -> None:
    async with listening(models) as ears:
        change(models)
        await ears.hear_of(models)
        (models / "last").mkdir(parents=True)
        await writes_are_heard(models / "last" / "model.gguf", ears, models)


async def writes_are_heard(file: Path, ears: Ears, folder: Path) -> None:
    """Several times, as the first ones may be mistaken for late news of what was before."""
    for length in range(1, 4):
        ears.forget()
        file.write_bytes(bytes(length))
        await ears.hear_of(folder)


async def test_a_folder_that_is_not_there_yet_is_heard(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "var" / "lib" / "models"
    async with listening(folder) as ears:
        (folder / "m").mkdir(parents=True)
        await ears.hear_of(folder)
        await writes_are_heard(folder / "m" / "model.gguf", ears, folder)
        shutil.rmtree(tmp_path / "var")
        await ears.hear_of(folder)
        (folder / "m").mkdir(parents=True)
        await ears.hear_of(folder)
        await writes_are_heard(folder / "m" / "model.gguf", ears, folder)


async def test_a_symlink_that_is_turned_is_heard_and_followed(tmp_path: Path, kind: str) -> None:
    """Kubernetes: FILE -> ..data/FILE, ..data -> ..VERSION, and `..data` is renamed over."""
    for version in ["..v1", "..v2"]:
        (tmp_path / "config" / version / "prompts").mkdir(parents=True)
        (tmp_path / "config" / version / "system.txt").write_text(version)
    config = tmp_path / "config"
    (config / "..data").symlink_to("..v1")
    (config / "system.txt").symlink_to("..data/system.txt")
    (config / "prompts").symlink_to("..data/prompts")
    async with listening(config, depth=2) as ears:
        (config / "..new").symlink_to("..v2")
        (config / "..new").rename(config / "..data")
        await ears.hear_of(config)
        await writes_are_heard(config / "..v2" / "prompts" / "p.txt", ears, config)


async def test_the_watched_folder_may_be_a_chain_of_symlinks(tmp_path: Path, kind: str) -> None:
    for version in ["v1", "v2"]:
        (tmp_path / "versions" / version / "m").mkdir(parents=True)
    models = tmp_path / "models"
    models.symlink_to("current")
    (tmp_path / "current").symlink_to("versions/v1")
    async with listening(models) as ears:
        (tmp_path / "new").symlink_to("versions/v2")
        (tmp_path / "new").rename(tmp_path / "current")
        await ears.hear_of(models)
        await writes_are_heard(tmp_path / "versions" / "v2" / "m" / "x", ears, models)
        models.unlink()
        models.symlink_to("versions/v1")
        await ears.hear_of(models)
        await writes_are_heard(tmp_path / "versions" / "v1" / "m" / "x", ears, models)


async def test_each_tree_is_told_by_its_name(models: Path, kind: str) -> None:
    config = models.with_name("config")
    (config / "models" / "m").mkdir(parents=True)
    async with FolderWatch([Tree(models, 1), Tree(config, 2)], (ears := Ears()).heard.put_nowait):
        (config / "models" / "m" / "system.txt").write_text("Hello.")
        assert await ears.hear() == config
        in_place(models)
        await ears.hear_of(models)


async def test_reading_and_neighbours_are_no_change(models: Path) -> None:
    """What must not be heard is done first; then the first that is heard is the one that may."""
    config = models.with_name("config")
    config.mkdir()
    async with FolderWatch([Tree(models, 1), Tree(config, 0)], (ears := Ears()).heard.put_nowait):
        for file in models.rglob("*"):
            file.is_file() and file.read_bytes()
        list(models.iterdir())
        (models.parent / "neighbour").write_text("x")
        (models.parent / "neighbours").mkdir()
        (config / "system.txt").write_text("x")
        assert await ears.hear() == config
        assert ears.heard.empty()


class Limited(PollingObserver):
    """An observer that has no watch left after the first two."""

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        if len(self._watches) == 2:
            raise OSError(errno.ENOSPC, "inotify watch limit reached")
        return super().schedule(*args, **kwargs)


def no_instance() -> Any:
    raise OSError(errno.EMFILE, "inotify instance limit reached")


@pytest.mark.parametrize("limit", [Limited, no_instance])
async def test_at_inotifys_limits_it_polls_and_says_so_once(
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    limit: Callable[[], Any],
) -> None:
    monkeypatch.setattr(observer, "open_native", limit)
    with caplog.at_level(logging.WARNING):
        ears = Ears()
        async with FolderWatch([Tree(models, 1)], ears.heard.put_nowait) as watch:
            assert watch.polling
            for name in ["n", "o"]:
                (models / name).mkdir()
                await writes_are_heard(models / name / "x", ears, models)
    (record,) = caplog.records
    assert "polling" in record.getMessage()


async def test_a_limit_that_is_met_later_is_handled_too(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LimitedLater(PollingObserver):
        def schedule(self, *args: Any, **kwargs: Any) -> Any:
            if len(self._watches) == 3:
                raise OSError(errno.ENOSPC, "inotify watch limit reached")
            return super().schedule(*args, **kwargs)

    monkeypatch.setattr(observer, "open_native", lambda: LimitedLater(timeout=0.02))
    ears = Ears()
    async with FolderWatch([Tree(models, 1)], ears.heard.put_nowait) as watch:
        assert not watch.polling
        (models / "n").mkdir()
        await ears.hear_of(models)
        assert watch.polling
        await writes_are_heard(models / "n" / "x", ears, models)


async def test_it_can_be_left_twice_and_while_changes_rain(models: Path) -> None:
    done = threading.Event()

    def rain() -> None:
        while not done.is_set():
            move_folder_in(models)
            remove_file(models)
            in_place(models)
            shutil.rmtree(models / "n")

    ears = Ears()
    thread = threading.Thread(target=rain)
    thread.start()
    try:
        for _ in range(3):
            async with FolderWatch([Tree(models, 1)], ears.heard.put_nowait) as watch:
                await ears.hear()
            await watch.__aexit__()
    finally:
        done.set()
        await asyncio.to_thread(thread.join)
    ears.forget()
    in_place(models)
    assert ears.heard.empty()


async def test_a_folder_without_rights_is_passed_over(models: Path, kind: str) -> None:
    (models / "closed").mkdir(mode=0)
    (models / "loop").symlink_to("loop")
    (models / "gone").symlink_to("nowhere")
    async with listening(models) as ears:
        await writes_are_heard(models / "m" / "x", ears, models)


async def test_a_bug_of_who_listens_is_not_hidden(models: Path) -> None:
    called = asyncio.Event()

    def on_change(_: Path) -> None:
        called.set()
        raise ZeroDivisionError

    async def listen() -> None:
        async with FolderWatch([Tree(models, 1)], on_change):
            in_place(models)
            await called.wait()

    with pytest.raises(ZeroDivisionError):
        await listen()
