"""Full disks, states that kill, hidden names, folders that come late: nothing is lost."""

import os
import shutil
import subprocess

import pytest

from rkllmd.client import DaemonError
from rkllmd.errors import Code
from rkllmd.ids import CacheName, ModelName
from rkllmd.promptcache.store import Store

KEY = "parrot/system"
LONG = "A prompt that is a good deal longer than the one before it. " * 40


@pytest.fixture
def small_disk(household):
    """A cache folder on a disk that holds the first cache and not much more."""
    household.cache.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1200k", "none", str(household.cache)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    household.settings.append("cache.free_bytes_min=0")
    yield household
    household.close()
    subprocess.run(["umount", str(household.cache)], check=True)


def entry_of(household, name="system"):
    return household.ask("cache.show", name=name)["caches"][0]


def test_a_full_disk_leaves_the_old_cache_serving(small_disk):
    home = small_disk.start()
    before = home.greedy("hello")
    filler = home.cache / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(home.cache).free - 8192))
    home.write_prompt("system", LONG)
    home.until(lambda: entry_of(home)["failure"], "the failure")
    failure = entry_of(home)["failure"]
    assert "bytes are needed" in failure["reason"]
    assert "space" in failure["advice"]
    home.until(lambda: "bytes are needed" in home.log.read_text(), "the log")
    home.until(lambda: any("bytes are needed" in n for n in home.ask("status")["notes"]), "notes")
    again = home.greedy("hello")
    assert (again["text"], again["usage"]["cache_hit"]) == (before["text"], True)
    asked = home.ask("cache.build", model="parrot", name="system", force=True)
    assert asked["failed"][0]["code"] == "storage_full"
    assert not list(home.cache.glob("parrot/.*")), "leftovers"
    home.restart()
    assert home.greedy("hello")["text"] == before["text"]
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(home.cache)], check=True)
    # Whoever asks does not wait for the pause between attempts.
    assert home.ask("cache.build", model="parrot")["built"] == ["system"]
    after = entry_of(home)
    assert (after["state"], after["failure"]) == ("verified", None)
    assert home.greedy("hello")["usage"]["cache_hit"]
    assert home.greedy("hello")["usage"]["prompt_tokens"] > before["usage"]["prompt_tokens"]


def test_a_disk_that_was_always_full_is_told_of_and_answers_go_on(small_disk):
    (small_disk.cache / "filler").write_bytes(
        bytes(shutil.disk_usage(small_disk.cache).free - 4096 * 6)
    )
    home = small_disk.start()
    assert home.greedy("hello")["text"]
    assert entry_of(home)["state"] == "broken"
    assert "needed" in entry_of(home)["reason"]
    ready = [message for message in home.said if "READY=1" in message]
    assert "parrot/system" in ready[0], "STATUS names what is missing"
    subprocess.run(["mount", "-o", "remount,size=64m", str(home.cache)], check=True)
    assert home.restart().caches() == {KEY: "verified"}, "a start tries again before it is ready"


def test_a_cache_folder_that_is_removed_is_made_again(household, tmp_path):
    home = household.start()
    before = home.greedy("hello")
    shutil.rmtree(home.cache.rename(tmp_path / "removed"), ignore_errors=True)
    made = home.ask("cache.create", model="parrot", name="other", prompt="You are an owl. " * 20)
    assert made["cache"]["state"] == "verified"
    both = {KEY: "verified", "parrot/other": "verified"}
    home.until(lambda: home.caches() == both)
    again = home.greedy("hello")
    assert (again["text"], again["usage"]["cache_hit"]) == (before["text"], True)
    assert home.restart().caches() == both


def test_a_state_that_no_engine_takes_is_built_again_before_it_is_ready(household):
    home = household.start()
    home.stop()
    with Store(home.cache) as store:
        entry = store.find(ModelName("parrot"), CacheName("system"))
        staging = store.stage(*entry.key)
        staging.path.write_bytes(b"whole, and nonsense")
        store.commit(staging, entry, store.text(*entry.key))
    home.start()
    assert "parrot/system is not used: The state file cannot be used" in home.log.read_text()
    assert home.caches() == {KEY: "verified"}
    assert home.greedy("hello")["usage"]["cache_hit"]


def test_a_file_hides_a_clients_prompt_and_gives_it_back(household):
    home = household.start()
    home.ask("cache.create", model="parrot", name="garden", prompt="You are a gardener. " * 9)
    path = home.write_prompt("garden", "You are the administrator's gardener. " * 9)
    home.until(lambda: "administrator" in (entry_of(home, "garden")["content"] or ""), "the file")
    assert any("garden.txt hides" in note for note in home.ask("status")["notes"])
    path.unlink()
    home.until(
        lambda: (
            (one := entry_of(home, "garden"))["content"] == "You are a gardener. " * 9
            and one["state"] == "verified"
        ),
        "the client's",
    )
    assert not any("hides" in note for note in home.ask("status")["notes"])


def test_names_of_learned_caches_are_nobodys(household):
    household.write_prompt("learned-12345678", "Mine. " * 30)
    home = household.start()
    assert home.caches() == {KEY: "verified"}
    assert any("learned-12345678" in note for note in home.ask("status")["notes"])
    with pytest.raises(DaemonError) as caught:
        home.ask("cache.create", model="parrot", name="learned-x", prompt="Mine. " * 30)
    assert caught.value.code == Code.BAD_REQUEST


def test_hits_are_counted_and_survive(household):
    home = household.start()
    for _ in range(3):
        home.greedy("hello")
    assert entry_of(home)["hits"] == 3
    assert entry_of(home)["last_used_at"] > 0
    assert entry_of(home)["bytes_written"] >= entry_of(home)["size"]
    home.restart()
    assert entry_of(home)["hits"] == 3


def test_what_was_built_last_is_held_by_the_engine(household):
    home = household.start()

    def finds_it_without_its_file():
        home.until(lambda: home.caches() == {KEY: "verified"}, "the cache")
        shutil.rmtree(home.cache / "parrot")
        usage = home.greedy("hello")["usage"]
        return usage["cached_tokens"] > 0.8 * usage["prompt_tokens"]

    # The daemon may see the loss first; what it then builds again is held as well.
    home.until(finds_it_without_its_file, "an answer from what is held")


def test_a_models_folder_that_is_away_costs_no_cache(household):
    home = household.start()
    built_at = entry_of(home)["built_at"]
    home.models.rename(home.folder / "away")
    home.until(lambda: not home.ask("model.list")["models"], "the model's absence")
    assert KEY in home.caches()
    (home.folder / "away").rename(home.models)
    home.until(lambda: home.ask("model.list")["models"], "the model")
    assert home.greedy("hello")["usage"]["cache_hit"]
    assert entry_of(home)["built_at"] == built_at


def test_folders_that_come_after_the_start(household):
    home = household
    home.models.rename(home.folder / "later")
    home.prompts.rename(home.folder / "texts")
    home.start()
    assert home.caches() == {}
    (home.folder / "later").rename(home.models)
    (home.folder / "texts").rename(home.prompts)
    home.until(lambda: home.caches() == {KEY: "verified"}, "the cache")
    assert home.greedy("hello")["usage"]["cache_hit"]


def test_a_model_that_goes_while_it_builds(household):
    home = household.start()
    home.write_prompt("long", LONG)
    home.until(lambda: home.ask("status")["building"], "a build")
    shutil.rmtree(home.models / "parrot")
    home.until(lambda: home.caches() == {}, "the end of its caches")
    assert home.ask("status")["state"] == "ready"
