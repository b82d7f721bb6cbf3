"""Room is made by letting learned entries go, then states of prompts made through the API."""

from pathlib import Path

import pytest

from rkllmd.errors import Code, StorageError
from rkllmd.ids import CacheName
from rkllmd.promptcache.eviction import Budget
from rkllmd.promptcache.room import make_room
from rkllmd.promptcache.store import Store
from tests.promptcache.samples import MODEL, put
from tests.promptcache.simdisk import UnflushedDisk


def test_learned_ones_go_and_texts_stay(tmp_path: Path) -> None:
    system, mine, learned = CacheName("system"), CacheName("mine"), CacheName("learned-12345678")
    with Store(tmp_path, UnflushedDisk()) as store:
        put(store, "system", name=system)
        put(store, "mine", name=mine, source="api")
        put(store, "learned", name=learned, source="learned")
        used = store.bytes_used()
        assert make_room(store, Budget(used)) == []
        assert make_room(store, Budget(used), needed_bytes=1) == [(MODEL, learned)]
        assert store.find(MODEL, learned) is None
        used = store.bytes_used()
        assert make_room(store, Budget(used), needed_bytes=1) == [(MODEL, mine)]
        assert store.prompts(MODEL) == {mine: "mine"}
        with pytest.raises(StorageError) as caught:
            make_room(store, Budget(used), needed_bytes=used)
        assert caught.value.code == Code.STORAGE_FULL
        assert caught.value.details["needed_bytes"] == used
        assert 0 < caught.value.details["short_bytes"] <= used
        assert store.state_path(MODEL, system) is not None
