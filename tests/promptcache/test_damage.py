"""Any byte flipped or missing in any of the three files is a miss with a reason."""

import json
import os
from pathlib import Path

import pytest

from rkllmd.promptcache.entry import BadEntryError, Damaged, Entry, parse, render
from rkllmd.promptcache.store import Store
from tests.promptcache.samples import MODEL, NAME, entry_of, put
from tests.promptcache.simdisk import UnflushedDisk

FILES = ("system.bin", "system.rkllm_cache", "system.json")


@pytest.fixture
def store(tmp_path: Path):
    with Store(tmp_path / "cache", UnflushedDisk()) as store:
        put(store, "prompt")
        yield store


def check_miss(store: Store, file: str) -> Damaged:
    found = store.find(MODEL, NAME)
    assert isinstance(found, Damaged), found
    assert file in found.reason
    assert store.state_path(MODEL, NAME) is None
    return found


@pytest.mark.parametrize("file", FILES)
def test_every_flipped_byte_is_a_miss(store: Store, file: str) -> None:
    path = store.folder / MODEL / file
    whole = path.read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        check_miss(store, file)
    path.write_bytes(whole)
    assert isinstance(store.find(MODEL, NAME), Entry)


@pytest.mark.parametrize("file", FILES)
def test_every_cut_is_a_miss(store: Store, file: str) -> None:
    path = store.folder / MODEL / file
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        check_miss(store, file)
    path.unlink()
    check_miss(store, file)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "unreadable link"])
def test_what_is_no_file_of_ours_is_a_miss(store: Store, file: str, kind: str) -> None:
    path = store.folder / MODEL / file
    aside = store.folder.parent / "aside"
    path.rename(aside)
    match kind:
        case "link":
            path.symlink_to(aside)
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case _:
            path.symlink_to(path)
    check_miss(store, file)


def test_damage_of_the_state_leaves_the_text(store: Store) -> None:
    (store.folder / MODEL / "system.rkllm_cache").write_bytes(b"something else")
    found = check_miss(store, "system.rkllm_cache")
    assert found.text == "prompt"
    assert found.entry is not None
    assert store.text(MODEL, NAME) == "prompt"


def test_a_damaged_entry_can_be_replaced_and_deleted(store: Store) -> None:
    for file in FILES:
        (store.folder / MODEL / file).write_bytes(b"damaged")
        put(store, "again")
        assert isinstance(store.find(MODEL, NAME), Entry)
        (store.folder / MODEL / file).unlink()
        store.delete(MODEL, NAME)
        assert store.find(MODEL, NAME) is None
        assert list((store.folder / MODEL).iterdir()) == []
        put(store, "again")


def test_a_byte_that_keeps_the_times_is_found(store: Store) -> None:
    """A change is seen by the inode's change time even where the modification time was set back."""
    path = store.folder / MODEL / "system.rkllm_cache"
    facts, whole = path.stat(), path.read_bytes()
    assert isinstance(store.find(MODEL, NAME), Entry)
    path.write_bytes(whole[:-1] + b"!")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    check_miss(store, "system.rkllm_cache")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"9" * 5000, "no JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "format null"),
        (b'{"format": 2}', "format 2, readable is 1"),
        (b'{"format": true}', "format true"),
        (b'{"format": [1]}', "format a list"),
        (b'{"format": 1}', "does not end with its checksum"),
        (render(entry_of())[:-1], "does not end with its checksum"),
        (render(entry_of()).replace(b"verified", b"VERIFIED"), "checksum does not fit"),
    ],
)
def test_each_check_has_its_sentence(data: bytes, reason: str) -> None:
    with pytest.raises(BadEntryError, match=reason):
        parse(data, NAME)


def signed(**members: object) -> bytes:
    """An entry of somebody who knows how the checksum is made."""
    whole = {**json.loads(render(entry_of())), **members}
    del whole["checksum"]
    return render(entry_of(extra={})) if not members else _sign(whole)


def _sign(members: dict[str, object]) -> bytes:
    import hashlib

    body = json.dumps(members, indent=1).removesuffix("\n}").encode()
    return body + f',\n "checksum": "{hashlib.sha256(body).hexdigest()}"\n}}\n'.encode()


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"cache_name": "kitchen"}, "describes the cache 'kitchen'"),
        ({"cache_name": "../kitchen"}, "cache_name: found '../kitchen'"),
        ({"state": "fine"}, "state: found 'fine'"),
        ({"tokens": -1}, "tokens: found -1"),
        ({"size": 1.5}, "size: found 1.5"),
        ({"created_at": float("nan")}, "created_at"),
        ({"fingerprint": "0" * 64}, "not that of its ingredients"),
        ({"ingredients": None}, "ingredients: found null"),
        ({"prefix": {"kind": "tokens", "data": "!!"}}, "no base64"),
        ({"prefix": {"kind": "tokens", "data": "AAAA"}}, "ends within a token"),
        ({"verification": {"at": 1}}, "verification"),
    ],
)
def test_a_signed_entry_is_checked_all_the_same(members: dict[str, object], reason: str) -> None:
    with pytest.raises(BadEntryError, match=reason):
        parse(signed(**members), NAME)


def test_round_trip_with_members_of_a_newer_version() -> None:
    entry = parse(signed(colour="blue", more={"a": [1, None]}), NAME)
    assert entry.extra == {"colour": "blue", "more": {"a": [1, None]}}
    assert parse(render(entry), NAME) == entry


def test_entries_without_a_state_round_trip() -> None:
    entry = entry_of(snapshot=None, verification=None, state="stale", next_text="näxt")
    assert parse(render(entry), NAME) == entry
    assert not entry.usable
