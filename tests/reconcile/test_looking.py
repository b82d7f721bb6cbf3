"""A cache folder that cannot be read for a while changes nothing of what is known of it."""

import asyncio
import errno
import os

import pytest

from rkllmd.config import settings
from rkllmd.errors import Code, StorageError
from rkllmd.promptcache.disk import Disk
from rkllmd.promptcache.store import Store
from rkllmd.reconcile.caches import Caches
from rkllmd.reconcile.reconciler import Reconciler
from tests.promptcache.samples import put


class BlindDisk(Disk):
    """Cannot list folders while it is `blind`, as when no descriptor is left."""

    blind = False

    def names(self, folder):
        if self.blind:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().names(folder)


@pytest.fixture
def disk():
    return BlindDisk()


@pytest.fixture
def store(tmp_path, disk):
    with Store(tmp_path, disk) as opened:
        put(opened, "text", source="api")
        yield opened


async def test_what_was_seen_last_counts_while_the_folder_cannot_be_read(store, disk):
    config = settings.Cache(free_bytes_min=0)
    caches = Caches(config, lambda: None, store.findings)
    reconciler = Reconciler(store, caches, None, config, lambda *_: None)
    await reconciler.reconcile()
    seen = caches.listing()
    disk.blind = True
    with pytest.raises(StorageError, match="Too many open files") as caught:
        await asyncio.to_thread(store.models)
    assert caught.value.code is Code.INTERNAL
    await reconciler.reconcile()
    assert caches.listing() == seen
    disk.blind = False
    await reconciler.reconcile()
    assert caches.listing() == seen
