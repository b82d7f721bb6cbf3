"""A state while whose loading two workers died is never loaded again, and everybody can see it."""

from types import SimpleNamespace

import pytest

from rkllmd.config import settings
from rkllmd.ids import CacheName
from rkllmd.promptcache.store import Store
from rkllmd.reconcile.caches import Caches
from rkllmd.reconcile.reconciler import Reconciler
from rkllmd.registry.identity import FileIdentity
from rkllmd.registry.models import Registry
from tests.promptcache.samples import INGREDIENTS, MODEL, PROOF, put

NAME = CacheName("learned-12345678")


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as opened:
        put(opened, "text", name=NAME, source="learned")
        yield opened


async def test_two_deaths_put_a_state_away_for_good(store):
    model = SimpleNamespace(
        identity=FileIdentity(1000, PROOF.model_mtime_ns, INGREDIENTS.model_sha256)
    )
    config = settings.Cache(free_bytes_min=0)
    caches = Caches(config, lambda: None, store.findings)
    told = []
    reconciler = Reconciler(store, caches, None, config, lambda *news: told.append(news))
    reconciler.registry = Registry({MODEL: model}, ())
    await reconciler.reconcile()
    assert caches.listing()[0]["state"] == "verified"
    for state in ("verified", "quarantined", "quarantined"):
        caches.killed_worker(MODEL, NAME)
        await reconciler.reconcile()
        assert caches.listing()[0]["state"] == state
    assert caches.listing()[0]["reason"] == "2 workers died while they loaded it"
    assert [what for _, what, _ in told] == ["quarantined"]
    assert "quarantined" in reconciler.notes[0].reason
