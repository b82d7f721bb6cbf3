"""Which differences are noticed, and that looking again reads nothing."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.registry import identity
from rkllmd.registry.identity import WHOLE_BYTES_MAX, Identities, samples

BIG = 3_000_017


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(bytes(BIG))
    return path


@given(st.integers(0, 1 << 45))
def test_samples_are_in_the_file_and_have_its_head_and_tail(size: int) -> None:
    found = samples(size)
    assert found == sorted(set(found))
    assert sum(length for _, length in found) == size or size > WHOLE_BYTES_MAX
    if size:
        assert found[0][0] == 0
        assert sum(found[-1]) == size


@given(st.integers(0, WHOLE_BYTES_MAX))
def test_a_small_file_is_covered_whole(size: int) -> None:
    end = 0
    for start, length in samples(size):
        assert start == end
        end += length
    assert end == size


def test_a_large_file_is_sampled_at_its_ends_and_between(tmp_path: Path) -> None:
    size = 256 << 20
    path = tmp_path / "large.rkllm"
    seen = set()
    for places in ([], [0], [size - 1], [size // 3 + step for step in range(0, 4 << 20, 4096)]):
        with path.open("wb") as file:
            file.truncate(size)
            for place in places:
                os.pwrite(file.fileno(), b"!", place)
        seen.add(Identities().of(path).digest)
    assert len(seen) == 4


@pytest.mark.parametrize("offset", [0, BIG // 2, BIG - 1])
def test_a_changed_byte_of_a_small_file_is_noticed(file: Path, offset: int) -> None:
    before = Identities().of(file)
    times = file.stat()
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(b"x")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = Identities().of(file)
    assert (after.size_bytes, after.mtime_ns) == (before.size_bytes, before.mtime_ns)
    assert after.digest != before.digest


def test_equal_content_of_another_length_differs(file: Path, tmp_path: Path) -> None:
    longer = tmp_path / "longer"
    longer.write_bytes(bytes(BIG + 1))
    assert Identities().of(longer).digest != Identities().of(file).digest


def test_looking_again_reads_nothing_also_under_a_new_name(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities = Identities()
    first = identities.of(file)
    monkeypatch.setattr(identity, "sampled_hash", lambda *_: pytest.fail("read again"))
    assert identities.of(file) == first
    folder = file.parent.rename(file.parent.with_name("renamed"))
    assert identities.of(folder / file.name) == first


def test_a_rewrite_that_keeps_size_and_mtime_is_read_again(file: Path) -> None:
    identities = Identities()
    before, times = identities.of(file), file.stat()
    file.write_bytes(b"x" * BIG)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert identities.of(file).digest != before.digest


def test_a_file_that_grows_while_it_is_read_is_not_remembered(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities = Identities()
    honest = identity.sampled_hash

    def growing(descriptor: int, size_bytes: int) -> str:
        with file.open("ab") as opened:
            opened.write(b"more")
        return honest(descriptor, size_bytes)

    monkeypatch.setattr(identity, "sampled_hash", growing)
    identities.of(file)
    monkeypatch.setattr(identity, "sampled_hash", honest)
    assert identities.of(file) == Identities().of(file)


def test_what_cannot_be_read_raises_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        Identities().of(tmp_path)
    with pytest.raises(FileNotFoundError):
        Identities().of(tmp_path / "none")
