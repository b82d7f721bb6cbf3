"""Listens to the file system and says in the loop that something below a folder changed.

`folders` says what has to be watched; that is found anew after every change, so nothing depends on
the order in which events arrive. Each folder has a watch of its own: watchdog's recursive ones lose
folders that are moved in (2.2) and hide the kernel's limit when it is met inside of them (7.1).

Where inotify has no watch left, everything is polled from then on, until the next start; the log
says so once. Threads only enqueue. Opening and reading files is no change, or our own reading would
wake us for ever.

Known and left as it is: watchdog 2.2 loses a descriptor for each folder that vanishes in the moment
between being found and being watched.
"""

import asyncio
import errno
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from watchdog.events import FileSystemEvent, FileSystemEventHandler

from rkllmd.watch.folders import Folder, Interest, Tree, find_folders

POLL_SECONDS = 2.0
BATCH_SECONDS = 0.1
"""Events within this time wake once; a model being copied makes thousands."""

ROUNDS_MAX = 8
LIMITS = frozenset({errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM})

_READING = frozenset({"opened", "closed_no_write"})

_log = logging.getLogger(__name__)


class FolderWatch:
    """Calls `on_change` in the loop with the folder of each tree in which something changed.

    What happened before it was entered is not told: enter, then look.
    """

    def __init__(self, trees: Sequence[Tree], on_change: Callable[[Path], None]) -> None:
        self._trees = tuple(trees)
        self._on_change = on_change
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Shared with threads: `_fitting` is held while watches are changed, `_lock` only shortly.
        self._fitting = threading.Lock()
        self._closed = False
        self._polling = False
        self._observer: Any = None
        self._watches: dict[Folder, Any] = {}
        self._interests: Mapping[Folder, set[Interest]] = {}
        self._lock = threading.Lock()
        self._changed: set[Tree] = set()
        self._lost: set[Folder] = set()

    @property
    def polling(self) -> bool:
        """Whether a limit of inotify was met."""
        return self._polling

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(self._watch)
        except BaseException:
            self._close()
            raise
        self._task = asyncio.create_task(self._tell(), name="watch")
        return self

    async def __aexit__(self, *_: object) -> None:
        task, self._task = self._task, None
        try:
            if task:
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.result()
        finally:
            await asyncio.to_thread(self._close)

    async def _tell(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(BATCH_SECONDS)
            self._wake.clear()
            with self._lock:
                changed, self._changed = self._changed, set()
            # First watch what is there now, then have it looked at: what comes later is an event.
            await asyncio.to_thread(self._watch)
            for folder in sorted({tree.folder for tree in changed}):
                self._on_change(folder)

    def on_event(self, folder: Folder, event: FileSystemEvent) -> None:
        """Called by watchdog's threads."""
        if event.event_type in _READING:
            return
        paths = {os.fsdecode(event.src_path), os.fsdecode(getattr(event, "dest_path", "") or "")}
        is_lost = event.event_type == "deleted" and str(folder.path) in paths
        if is_lost:
            with self._lock:
                self._lost.add(folder)
        for interest in self._interests.get(folder, ()):
            if is_lost or interest.name is None or str(folder.path / interest.name) in paths:
                self._note(interest.tree)

    def _note(self, tree: Tree) -> None:
        with self._lock:
            is_first = not self._changed
            self._changed.add(tree)
        if is_first:
            # Not an error: the loop may have ended before the thread was stopped.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake.set)

    def _watch(self) -> None:
        """Make the watches fit what is there. Blocks."""
        with self._fitting:
            if self._closed:
                return
            try:
                self._fit()
            except OSError as error:
                _log.warning("inotify cannot watch more (%s), polling instead", error.strerror)
                self._stop()
                self._polling = True
                self._fit()

    def _fit(self) -> None:
        if self._observer is None:
            self._observer = open_polling() if self._polling else open_native()
            self._observer.start()
        with self._lock:
            lost, self._lost = self._lost, set()
        unwatched = {folder for folder, watch in self._watches.items() if watch is None}
        for folder in lost | unwatched:
            self._unschedule(folder)
        # Again, for what appeared in a folder before it was watched.
        for _ in range(ROUNDS_MAX):
            self._interests = find_folders(self._trees)
            if self._interests.keys() == self._watches.keys():
                return
            for folder in self._watches.keys() - self._interests.keys():
                self._unschedule(folder)
            for folder in self._interests.keys() - self._watches.keys():
                self._watches[folder] = self._schedule(folder)

    def _schedule(self, folder: Folder) -> Any:
        try:
            return self._observer.schedule(
                _Handler(self, folder), str(folder.path), recursive=False
            )
        except OSError as error:
            if error.errno in LIMITS and not self._polling:
                raise
            # It vanished, or may not be read.
            return None

    def _unschedule(self, folder: Folder) -> None:
        watch = self._watches.pop(folder, None)
        if watch is not None:
            self._observer.unschedule(watch)

    def _close(self) -> None:
        with self._fitting:
            self._closed = True
            self._stop()

    def _stop(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
        self._observer = None
        self._watches.clear()


class _Handler(FileSystemEventHandler):
    def __init__(self, owner: FolderWatch, folder: Folder) -> None:
        self._owner = owner
        self._folder = folder

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._owner.on_event(self._folder, event)


def open_native() -> Any:
    """An observer that the kernel tells; raises OSError at its limits."""
    # Not at the top: it loads ctypes, which costs a daemon that does not watch yet.
    from watchdog.observers import Observer  # noqa: PLC0415

    return Observer()


def open_polling() -> Any:
    """An observer that needs nothing from the kernel."""
    from watchdog.observers.polling import PollingObserver  # noqa: PLC0415

    return PollingObserver(timeout=POLL_SECONDS)
