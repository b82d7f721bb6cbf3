"""The prompt cache as its users have it: built, used, switched, edited, damaged, lost and found."""

import json
import shutil
import signal
import threading

import pytest

from rkllmd.client import DaemonError
from tests.daemon.household import SYSTEM, Household

KEY = "parrot/system"


def settled(household, expected):
    """Wait until the caches are in these states."""
    household.until(lambda: household.caches() == expected, f"caches {expected}")


def test_the_first_request_after_a_restart_prefills_only_what_follows_the_prefix(household):
    household.start()
    cold = household.greedy("hello", use_cache=False)
    assert cold["usage"]["cached_tokens"] == 0
    assert cold["usage"]["cache_hit"] is False
    built_at = household.ask("cache.show")["caches"][0]["built_at"]
    household.restart()
    entry = household.ask("cache.show")["caches"][0]
    assert entry["built_at"] == built_at, "a valid cache was built again"
    warm = household.greedy("hello")
    assert warm["text"] == cold["text"]
    assert warm["usage"]["cache_hit"] is True
    assert warm["usage"]["cached_prompts"] == ["system"]
    assert warm["usage"]["cached_tokens"] >= entry["tokens"] - 1
    rest = warm["usage"]["prompt_tokens"] - warm["usage"]["cached_tokens"]
    assert rest <= warm["usage"]["prompt_tokens"] - entry["tokens"] + 1
    again = household.greedy("hello")
    assert again["timing"]["load_ms"] <= again["timing"]["total_ms"]
    assert again["text"] == cold["text"]


def prefilled(household):
    """What the engine has counted since the model was loaded, whoever asked for it."""
    return household.ask("model.show", model="parrot")["models"][0]["prefilled_tokens"]


def test_a_restart_with_valid_caches_prefills_nothing(household):
    household.start()
    assert prefilled(household) > 0, "it was built"
    household.restart()
    assert prefilled(household) == 0
    usage = household.greedy("hello")["usage"]
    assert usage["cache_hit"] is True
    assert prefilled(household) == usage["prompt_tokens"] - usage["cached_tokens"] < 20


def test_prompts_switch_without_prefill(household):
    household.write_prompt("pirate", "You are a pirate. " + SYSTEM)
    household.start()
    expected = {
        name: household.greedy("hello", use_cache=name)["text"] for name in ("system", "pirate")
    }
    for name in ("pirate", "system", "pirate", "system"):
        answer = household.greedy("hello", use_cache=name)
        assert answer["text"] == expected[name]
        assert answer["usage"]["cache_hit"] is True
        assert answer["usage"]["cached_prompts"] == [name]
        assert answer["usage"]["prompt_tokens"] - answer["usage"]["cached_tokens"] < 20


def test_a_missing_cache_is_a_warning(household):
    household.start()
    answer = household.greedy("hello", use_cache="nothere")
    assert answer["usage"]["cache_hit"] is False
    assert any("nothere" in warning for warning in answer["warnings"])


def test_a_request_of_its_own_system_prompt_uses_the_longest_stored_prefix(household):
    household.start()
    own = household.greedy("hello", system=SYSTEM)
    assert own["usage"]["cached_prompts"] == ["system"]
    assert own["text"] == household.greedy("hello")["text"]
    assert household.greedy("hello", system=SYSTEM, use_cache="system")["warnings"] == []
    other = household.greedy("hello", system="Something else entirely.", use_cache="system")
    assert other["usage"]["cache_hit"] is False
    assert any("'system' had no effect" in warning for warning in other["warnings"])
    missing = household.greedy("hello", system=SYSTEM, use_cache="nothere")
    assert missing["usage"]["cache_hit"] is False
    assert any("nothere" in warning for warning in missing["warnings"])


def test_a_prefix_that_clients_keep_sending_is_learned(household):
    household.start()
    own = "You control the house of the Lovelace family, politely. " * 8
    texts = {household.greedy("hello", system=own)["text"] for _ in range(3)}
    household.until(
        lambda: any(name.startswith("parrot/learned-") for name in household.caches()), "learning"
    )
    settled_states = household.until(
        lambda: (c := household.caches()) and set(c.values()) == {"verified"} and c, "verifying"
    )
    assert len(settled_states) == 2
    household.greedy("something else")
    answer = household.greedy("hello", system=own)
    assert answer["usage"]["cache_hit"] is True
    assert {answer["text"]} == texts
    household.restart()
    again = household.greedy("hello", system=own)
    assert again["usage"]["cache_hit"] is True
    assert {again["text"]} == texts


def test_a_clock_at_the_head_of_a_prompt_is_pointed_at(household):
    household.start()
    for minute in range(6):
        household.greedy(
            "hello", system=f"It is 12:0{minute}. " + "You are a kind assistant. " * 20
        )
    notes = household.ask("status")["notes"]
    assert any("keeps changing from character 10" in note for note in notes)


def test_an_edited_prompt_is_followed_and_the_old_one_serves_meanwhile(household):
    household.start()
    before = household.greedy("hello")
    household.write_prompt("system", "You are Mia. " + SYSTEM)
    answers = []
    while household.ask("cache.show")["caches"][0]["content"] == SYSTEM:
        answers.append(household.greedy("hello"))
    assert {answer["text"] for answer in answers} <= {
        before["text"],
        household.greedy("hello")["text"],
    }
    after = household.greedy("hello")
    assert after["usage"]["cache_hit"] is True
    assert after["text"] == household.greedy("hello", use_cache=False)["text"]
    assert after["usage"]["prompt_tokens"] > before["usage"]["prompt_tokens"]


def test_prompts_come_and_go_with_their_files(household):
    household.start()
    path = household.write_prompt("pirate", "You are a pirate. " * 10)
    settled(household, {KEY: "verified", "parrot/pirate": "verified"})
    path.unlink()
    settled(household, {KEY: "verified"})
    assert not list(household.cache.glob("parrot/*pirate*"))


def test_a_replaced_model_gets_new_caches(household, other_parrot):
    household.start()
    before = household.greedy("hello")["text"]
    staged = household.folder / "new.gguf"
    shutil.copyfile(other_parrot, staged)
    staged.replace(household.models / "parrot" / "model.gguf")
    old = household.ask("cache.show")["caches"][0]["fingerprint"]
    household.until(
        lambda: (
            (e := household.ask("cache.show")["caches"][0])["state"] == "verified"
            and e["fingerprint"] != old
        ),
        "new caches",
    )
    after = household.greedy("hello")
    assert after["usage"]["cache_hit"] is True
    assert after["text"] != before
    assert after["text"] == household.greedy("hello", use_cache=False)["text"]


def test_a_renamed_model_keeps_its_caches(household):
    household.start()
    built_at = household.ask("cache.show")["caches"][0]["built_at"]
    (household.models / "parrot").rename(household.models / "macaw")
    settled(household, {"macaw/system": "verified"})
    assert household.ask("cache.show")["caches"][0]["built_at"] == built_at
    assert household.greedy("hello", model="macaw")["usage"]["cache_hit"] is True


def test_prompts_through_the_api(household):
    household.start()
    text = "You are a gardener. " * 12
    made = household.ask("cache.create", model="parrot", name="garden", prompt=text)["cache"]
    assert made["state"] == "verified"
    assert made["source"] == "api"
    assert household.greedy("hello", use_cache="garden")["usage"]["cached_prompts"] == ["garden"]
    with pytest.raises(DaemonError) as caught:
        household.ask("cache.create", model="parrot", name="garden", prompt="x")
    assert caught.value.code == "cache_exists"
    household.ask("cache.create", model="parrot", name="garden", prompt="Other. " * 30,
                  overwrite=True)  # fmt: skip
    household.restart()
    assert household.greedy("hello", use_cache="garden")["usage"]["cache_hit"] is True
    assert household.ask("cache.build", model="parrot", name="garden")["skipped"] == ["garden"]
    forced = household.ask("cache.build", model="parrot", name="garden", force=True)
    assert forced["built"] == ["garden"]
    assert household.ask("cache.verify", name="garden")["verified"] == ["parrot/garden"]
    assert household.ask("cache.delete", model="parrot", name="garden")["rebuilt"] is False
    settled(household, {KEY: "verified"})
    with pytest.raises(DaemonError):
        household.ask("cache.show", name="garden")


DAMAGES = {
    "flip": lambda path, data: path.write_bytes(
        bytes(byte ^ (place == len(data) // 2) for place, byte in enumerate(data))
    ),
    "cut": lambda path, data: path.write_bytes(data[:-1]),
    "gone": lambda path, data: path.unlink(),
    "empty": lambda path, data: path.write_bytes(b""),
}


def test_damaged_files_are_a_miss_with_a_reason_and_are_made_again(household):
    """Each kind of damage to each of the three files, in a cache of its own."""
    ways = [(damage, kind) for damage in DAMAGES for kind in ("bin", "rkllm_cache", "json")]
    names = [f"{damage}-{kind}" for damage, kind in ways]
    for name in names:
        household.write_prompt(name, f"You are {name}. You answer in few words. ")
    household.start()
    expected = {name: household.greedy("hello", use_cache=name)["text"] for name in names}
    whole = household.caches()
    household.stop()
    for name, (damage, kind) in zip(names, ways, strict=True):
        path = household.cache / "parrot" / f"{name}.{kind}"
        DAMAGES[damage](path, path.read_bytes())
    household.start()
    log = household.log.read_text()
    for name, (_, kind) in zip(names, ways, strict=True):
        assert f"built parrot/{name}: {name}.{kind}" in log, "the reason names the file"
        answer = household.greedy("hello", use_cache=name)
        assert (answer["text"], answer["usage"]["cache_hit"]) == (expected[name], True)
    assert household.caches() == whole


def test_a_state_that_is_damaged_while_it_is_in_use_costs_only_time(household):
    household.start()
    household.write_prompt("other", "Another prompt. " * 20)
    settled(household, {KEY: "verified", "parrot/other": "verified"})
    expected = household.greedy("hello")["text"]
    household.greedy("hello", use_cache="other")
    path = household.cache / "parrot" / "system.rkllm_cache"
    path.write_bytes(b"rubbish" * 100)
    answer = household.greedy("hello")
    assert answer["text"] == expected
    assert answer["usage"]["cache_hit"] is False
    assert any("could not be loaded" in warning for warning in answer["warnings"])
    settled(household, {KEY: "verified", "parrot/other": "verified"})
    household.greedy("hello", use_cache="other")
    again = household.greedy("hello")
    assert again["text"] == expected
    assert again["usage"]["cache_hit"] is True


def test_a_daemon_killed_while_it_builds_begins_again(household):
    household.write_prompt("system", SYSTEM * 3)  # it takes long enough to be caught
    household.start(wait=False)
    while not list(household.cache.glob("parrot/.*")):
        assert household.process.poll() is None
    household.stop(signal.SIGKILL)
    household.start()
    assert household.caches() == {KEY: "verified"}
    assert not list(household.cache.glob("parrot/.*")), "leftovers"
    assert household.greedy("hello")["usage"]["cache_hit"] is True


def test_a_voice_does_not_wait_for_a_build(household):
    household.start()
    household.write_prompt("long", "A long prompt that takes its time to be computed. " * 60)
    household.until(lambda: household.ask("status")["building"], "a build")
    answer = household.greedy("hello", priority="voice")
    assert answer["event"] == "done"
    settled(household, {KEY: "verified", "parrot/long": "verified"})


def test_caches_can_be_switched_off(household):
    household.settings.append("cache.enabled=false")
    household.start()
    answer = household.greedy("hello")
    assert answer["usage"]["cache_hit"] is False
    assert household.caches() == {}
    with pytest.raises(DaemonError) as caught:
        household.ask("cache.build", model="parrot")
    assert caught.value.code == "unsupported"


def test_watch_tells_what_happens_to_caches(household):
    household.start()
    heard = []
    with household.client() as client:
        events = client.events("watch", kinds=["cache"])
        listening = threading.Thread(target=lambda: heard.append(next(events)))
        listening.start()
        household.write_prompt("pirate", "You are a pirate. " * 10)
        listening.join()
    assert heard[0]["kind"] == "cache"
    assert heard[0]["data"]["name"] == "pirate"


def test_the_cache_folder_tells_backups_to_pass(household):
    household.start()
    assert (household.cache / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172")
    entry = json.loads((household.cache / "parrot" / "system.json").read_text())
    assert entry["cache_name"] == "system"
    assert entry["model_name"] == "parrot"


def test_two_daemons_build_the_same_caches(household, tmp_path_factory, parrot):
    """What is there after many edits is what a fresh start would make."""
    household.start()
    for round_ in range(6):
        household.write_prompt("system", f"Edition {round_}. " + SYSTEM)
        household.write_prompt("extra", f"Extra {round_}. " * 10)
        household.greedy("hello")
    fresh = Household(tmp_path_factory.mktemp("fresh"), parrot)
    try:
        fresh.write_prompt("system", f"Edition {5}. " + SYSTEM)
        fresh.write_prompt("extra", f"Extra {5}. " * 10)
        fresh.start()
        wanted = {e["name"]: e["fingerprint"] for e in fresh.ask("cache.show")["caches"]}
    finally:
        fresh.close()
    household.until(
        lambda: (
            {e["name"]: e["fingerprint"] for e in household.ask("cache.show")["caches"]} == wanted
            and set(household.caches().values()) == {"verified"}
        ),
        "the same caches",
    )
