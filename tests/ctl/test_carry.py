"""A cache that goes from one board to another like it."""

import gzip
import io
import shlex
import subprocess
import tarfile

import pytest

from tests.daemon.household import PATIENCE_SECONDS, SYSTEM, Household


@pytest.fixture
def boards(tmp_path, parrot):
    """Two boards with the same model; the first has one prompt more."""
    homes = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        homes.append(Household(tmp_path / name, parrot))
    yield homes
    for home in homes:
        home.close()


def test_an_exported_cache_is_proved_on_another_board(boards, ctl_of, tmp_path):
    here, there = (ctl_of(home.start()) for home in boards)
    here.run("cache", "create", "parrot", "pirate", text="You are a pirate. " + SYSTEM)
    file = tmp_path / "pirate.rkllmd-cache"
    assert "parrot/pirate: " in here.run("cache", "export", "parrot", "pirate", str(file))
    assert here.json("cache", "export", "parrot", "pirate", str(file))["size"] > 1000
    assert there.run("cache", "import", str(file)) == "parrot/pirate: proved\n"
    assert there.json("cache", "import", str(file))["proved"] is True
    answers = [home.greedy("hello", use_cache="pirate") for home in boards]
    assert answers[0]["text"] == answers[1]["text"]
    assert answers[1]["usage"]["cached_prompts"] == ["pirate"]
    built = [home.ask("cache.show", name="pirate")["caches"][0]["built_at"] for home in boards]
    assert built[0] == built[1], "it was built again in place of being taken"


def test_what_was_made_from_another_model_is_refused(boards, ctl_of, other_parrot, tmp_path):
    boards[1].add_model("parrot", other_parrot)
    here, there = (ctl_of(home.start()) for home in boards)
    file = tmp_path / "system.rkllmd-cache"
    here.run("cache", "export", "parrot", "system", str(file))
    before = boards[1].ask("cache.show")["caches"]
    assert "another model file" in there.run("cache", "import", str(file), status=2)
    assert boards[1].ask("cache.show")["caches"] == before


def test_a_damaged_file_is_refused(household, ctl_of, tmp_path):
    ctl = ctl_of(household.start())
    file = tmp_path / "system.rkllmd-cache"
    ctl.run("cache", "export", "parrot", "system", str(file))
    whole = file.read_bytes()
    with tarfile.open(file) as archive:
        places = {one.name: (one.offset_data, one.size) for one in archive.getmembers()}
    for start, length in places.values():
        data = bytearray(whole)
        data[start + length // 2] ^= 1
        file.write_bytes(data)
        assert "is no exported cache" in ctl.run("cache", "import", str(file), status=2)
    for data in (b"", whole[: len(whole) // 2], b"\0" * 4096):
        file.write_bytes(data)
        assert ctl.json("cache", "import", str(file), status=2)["code"] == "bad_request"
    file.write_bytes(whole)
    assert ctl.json("cache", "import", str(file), "--model", "owl", status=3)["code"] == (
        "unknown_model"
    )
    assert not (household.cache / "owl").exists()
    full = f"ulimit -f 100; {shlex.join(ctl.command)} cache import {file}"
    done = subprocess.run(
        full, shell=True, env=ctl.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 6, done.stderr
    assert done.stderr.startswith(f"rkllmctl: cannot write {household.cache}"), done.stderr
    before = household.greedy("hello")["text"]
    # While it is being built one of the two is taken, and either is good.
    with (
        ctl.start("cache", "build", "parrot", "--force") as building,
        ctl.start("cache", "import", str(file)) as importing,
    ):
        statuses = [process.wait(PATIENCE_SECONDS) for process in (building, importing)]
    assert statuses in ([0, 0], [0, 1])
    assert household.caches() == {"parrot/system": "verified"}
    assert household.greedy("hello")["text"] == before


def test_an_archive_of_something_else_is_refused(household, ctl_of, tmp_path):
    ctl = ctl_of(household)
    file = tmp_path / "else.tar"
    with tarfile.open(file, "w") as archive:
        member = tarfile.TarInfo("../../etc/passwd.json")
        archive.addfile(member, io.BytesIO())
    assert "is no exported cache" in ctl.run("cache", "import", str(file), status=2)
    file.write_bytes(gzip.compress(file.read_bytes())[:-20])
    assert "is no exported cache" in ctl.run("cache", "import", str(file), status=2)
    assert "is no exported cache" in ctl.run("cache", "import", "/nowhere", status=2)


def test_what_is_not_there_is_not_exported(household, ctl_of, tmp_path):
    ctl, file = ctl_of(household), tmp_path / "x"
    assert "there is no cache folder" in ctl.run(
        "cache", "export", "parrot", "system", str(file), status=3
    )
    assert "found the folder" in ctl.run("cache", "export", "parrot", "system", ".", status=2)
    household.start()
    assert (
        ctl.json("cache", "export", "parrot", "x", str(file), status=3)["code"] == "unknown_cache"
    )
    assert list(tmp_path.glob("*x*")) == []
