"""Making room in the store: what eviction chose is let go, or an error says what is missing."""

from rkllmd.errors import Code, StorageError
from rkllmd.promptcache.entry import Entry, Key
from rkllmd.promptcache.eviction import Budget, Held, choose
from rkllmd.promptcache.store import Store


def make_room(
    store: Store, budget: Budget, needed_bytes: int = 0, replaced: Key | None = None
) -> list[Key]:
    """Bring the store within its budget with `needed_bytes` to spare; what was let go for it.

    What is to be replaced stays until then, so the disk has to hold both; the budget counts the new
    one only. Where the room cannot be had nothing is let go for it, and a `StorageError` names what
    is missing.
    """
    entries = {entry.key: entry for entry in store.entries() if isinstance(entry, Entry)}
    free_bytes = store.free_bytes()
    old = entries.get(replaced) if replaced else None
    choice = choose(
        [_held(store, one) for one in entries.values() if one.snapshot and one is not old],
        budget,
        used_bytes=store.bytes_used() - (old.snapshot.size if old and old.snapshot else 0),
        free_bytes=free_bytes,
        needed_bytes=needed_bytes,
    )
    for key in choice.victims:
        if entries[key].source == "learned":
            store.delete(*key)
        else:
            store.drop_state(*key)
    if choice.short_bytes and needed_bytes:
        raise StorageError(
            Code.STORAGE_FULL,
            f"no room in the cache folder: {needed_bytes} bytes are needed, {free_bytes}"
            f" are free on the disk, {budget.free_bytes_min} have to stay so, and the budget"
            f" is {budget.bytes_max or 'unlimited'}; {choice.short_bytes} bytes are missing when"
            " all is gone that may be let go",
            needed_bytes=needed_bytes,
            short_bytes=choice.short_bytes,
            free_bytes=free_bytes,
        )
    return list(choice.victims)


def _held(store: Store, entry: Entry) -> Held:
    assert entry.snapshot is not None, "only states take room"
    usage = store.usage(*entry.key)
    return Held(
        key=entry.key,
        source=entry.source,
        pinned=entry.pinned,
        bytes=entry.snapshot.size,
        last_used_at=max(usage.last_used_at, entry.snapshot.built_at),
        prefix=entry.snapshot.prefix.prompt,
    )
