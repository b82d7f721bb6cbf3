"""The whole daemon on the simulated NPU runtime: the story of the cache, and what it refuses.

The runtime is simulated, the rest is real: binding, worker, daemon, files and sockets.
"""

import base64
import re
import signal

import pytest

from rkllmd.client import DaemonError
from tests.daemon.household import SYSTEM, Household
from tests.engine_rkllm.stories import scene
from tests.fakes.rkllm.built import NEWEST, VERSIONS, built, make_model


def npu_household(folder, version, **model):
    """A daemon whose model runs on a release of the runtime."""
    file = make_model(folder / "parrot.rkllm", **model)
    home = Household(folder, file)
    (home.models / "parrot" / "model.gguf").rename(home.models / "parrot" / "model.rkllm")
    home.settings.append(f"engine.library={built(version)}")
    return home


@pytest.fixture(params=VERSIONS)
def of_each_release(request, tmp_path):
    home = npu_household(tmp_path, request.param)
    yield home
    home.close()


@pytest.fixture
def npu(tmp_path):
    home = npu_household(tmp_path, NEWEST)
    yield home
    home.close()


def test_the_story_of_the_cache(of_each_release):
    home = of_each_release
    home.write_prompt("pirate", "You are a pirate. " + SYSTEM)
    home.start()
    assert home.caches() == {"parrot/pirate": "verified", "parrot/system": "verified"}
    cold = {name: home.greedy("hello", use_cache=name) for name in ("system", "pirate")}
    assert cold["system"]["text"] != cold["pirate"]["text"], "answers depend on the prefix"
    uncached = home.greedy("hello", use_cache=False)
    assert uncached["usage"]["cached_tokens"] == 0
    assert uncached["text"] == cold["system"]["text"]
    for name in ("pirate", "system", "pirate"):
        answer = home.greedy("hello", use_cache=name)
        assert answer["text"] == cold[name]["text"]
        assert answer["usage"]["cache_hit"] is True
    home.greedy("my name is Ada", session="s")
    second = home.greedy("what is my name", session="s")
    built_at = {one["name"]: one["built_at"] for one in home.ask("cache.show")["caches"]}
    home.restart()
    again = {one["name"]: one["built_at"] for one in home.ask("cache.show")["caches"]}
    assert again == built_at, "a restart built again"
    warm = home.greedy("hello")
    assert warm["text"] == cold["system"]["text"]
    assert warm["usage"]["cache_hit"] is True
    home.greedy("my name is Ada", session="s")
    assert home.greedy("what is my name", session="s")["text"] == second["text"]
    home.write_prompt("system", "You are Mia. " + SYSTEM)
    home.until(lambda: "Mia" in home.ask("cache.show", name="system")["caches"][0]["content"])
    edited = home.greedy("hello")
    assert edited["text"] != cold["system"]["text"]
    assert edited["usage"]["cache_hit"] is True
    assert edited["text"] == home.greedy("hello", use_cache=False)["text"]


def script(home, text):
    path = home.folder / "script"
    path.write_text(text)
    return {"RKLLM_SIM_SCRIPT": str(path)}


def test_a_model_that_cannot_save_is_served_without_a_cache(tmp_path):
    home = npu_household(tmp_path, "1.3.0", kind="linear")
    try:
        home.start()
        ready = home.said.pop()
        assert "0 of 1 caches verified" in ready
        assert "parrot has no caches: " in ready, "STATUS says why"
        assert "EXTEND_TIMEOUT_USEC=60000000" in home.said
        assert not any("READY=1" in message for message in home.said)
        answer = home.greedy("hello")
        assert answer["usage"]["cache_hit"] is False
        status = home.ask("status")
        assert status["ready"] is True
        assert any("save" in note or "saving" in note for note in status["notes"])
        (model,) = home.ask("model.show", model="parrot")["models"]
        (warning,) = [one for one in model["warnings"] if "#517" in one]
        assert f"parrot: {warning}" in home.log.read_text(), "the log warns of the release"
    finally:
        home.close()


@pytest.mark.parametrize("kind", ["linear", "forgetful"])
def test_what_a_model_cannot_do_is_remembered_with_its_fingerprint(tmp_path, kind):
    """The runtime says that it cannot save a linear model's state; of a forgetful one the canaries
    find out that the state is of no use."""
    home = npu_household(tmp_path, NEWEST, kind=kind, max_context_limit=1024)

    def shown():
        (model,) = home.ask("model.show", model="parrot")["models"]
        return model

    def is_unable(model):
        assert model["cannot_save"]
        assert model["context_limit"] == 1024
        return True

    try:
        home.start()
        first = shown()
        assert is_unable(first)
        assert first["prefilled_tokens"] > 0
        able = first["capabilities"]["state_files"]
        assert able == {"ability": "no", "reason": first["cannot_save"]}
        refused = home.log.read_text().count("max_context[4096] must be less")
        assert refused == 1, "the context was learned from it"
        home.restart()
        second = shown()
        assert is_unable(second)
        assert second["prefilled_tokens"] == 0, "it was tried again"
        assert second["context"] == 1024
        assert home.log.read_text().count("max_context[4096] must be less") == refused
        home.stop()
        home.settings.append("models.preload=none")
        assert is_unable(home.start() and shown())
        assert shown()["state"] == "unloaded"
        home.stop()
        home.settings[-2:] = [f"engine.library={built('1.3.0')}"]
        home.start()
        assert is_unable(shown())
        assert shown()["prefilled_tokens"] > 0, "another runtime was not tried"
        home.stop()
        (home.cache / ".findings.json").write_bytes(b'{"findings": [{"fin')
        home.start()
        assert home.greedy("hello")["usage"]["cache_hit"] is False
    finally:
        home.close()


def test_a_state_that_killed_two_workers_is_never_loaded_again(npu):
    npu.write_prompt("other", "Another prompt. " * 20)
    npu.start(**script(npu, ""))
    expected = npu.greedy("hello")["text"]
    for _ in range(2):
        npu.greedy("hello", use_cache="other")
        (npu.folder / "script").write_text("load=crash")
        answer = npu.greedy("hello")
        (npu.folder / "script").write_text("")
        assert (answer["text"], answer["usage"]["cache_hit"]) == (expected, False)
        assert any("not loaded again" in warning for warning in answer["warnings"])
    states = {"parrot/other": "verified", "parrot/system": "quarantined"}
    npu.until(lambda: npu.caches() == states, "the quarantine")
    reason = "quarantined: 2 workers died while they loaded it"
    npu.until(lambda: any(reason in note for note in npu.ask("status")["notes"]), "the note")
    npu.stop()
    npu.start(**script(npu, "load=crash"))
    answer = npu.greedy("hello")
    assert (answer["text"], answer["warnings"]) == (expected, [])
    assert npu.caches() == states
    (npu.folder / "script").write_text("")
    npu.write_prompt("system", "You are Mia. " + SYSTEM)
    npu.until(lambda: npu.caches() == states | {"parrot/system": "verified"}, "another state")
    assert npu.greedy("hello")["usage"]["cache_hit"] is True


SAID = {
    "STATUS=starting": "S", "EXTEND_TIMEOUT_USEC=60000000": "e", "STATUS=loading": "l",
    "STATUS=building parrot/system": "b", "READY=1": "R", "RELOADING=1": "r", "WATCHDOG=1": "w",
    "STOPPING=1": "s", "EXTEND_TIMEOUT_USEC=50000000": "d",
}  # fmt: skip


def test_what_systemd_hears_from_start_to_end(tmp_path):
    home = npu_household(tmp_path, NEWEST, prefill_us=5000)  # each canary's prefill takes a second
    try:
        home.start(WATCHDOG_USEC="2000000")
        home.process.send_signal(signal.SIGHUP)
        for word in ("RELOADING=1", "READY=1", "WATCHDOG=1"):
            home.hear(word)
        assert home.stop() == 0
        home.hear("STOPPING=1")
        home.hear("EXTEND_TIMEOUT_USEC=50000000")
    finally:
        home.close()
    said = "".join(SAID[message.splitlines()[0]] for message in home.said)
    assert re.search("w.*b.*R.*w", said), "fed before and after it is ready"
    assert re.fullmatch("S(e[lb])*eb(e[lb])*RrRsd", said.replace("w", "")), said


def test_a_new_worker_holds_the_system_prompt_before_anybody_asks(npu):
    npu.start(**script(npu, ""))
    expected = npu.greedy("hello")["text"]
    npu.stop()
    npu.start(**script(npu, ""))
    (npu.folder / "script").write_text("load=error")
    answer = npu.greedy("hello")
    assert (answer["text"], answer["usage"]["cache_hit"]) == (expected, True)
    assert answer["warnings"] == []


def test_a_prompt_beyond_the_context_is_refused_by_name(npu):
    npu.start()
    with pytest.raises(DaemonError) as caught:
        npu.greedy("word " * 9000)
    assert caught.value.code == "context_overflow"
    assert npu.greedy("hello")["event"] == "done"


def test_a_form_is_refused_and_nothing_is_begun(npu):
    npu.start()
    tool = {"type": "function", "function": {"name": "light", "parameters": {"type": "object"}}}
    for member, members in (
        ("format", {"format": "json"}),
        ("tool_choice", {"tools": [tool], "tool_choice": "required"}),
        ("tool_choice", {"tools": [tool], "tool_choice": {"name": "light"}}),
    ):
        with pytest.raises(DaemonError, match=f"{member}: .*the NPU runtime has no") as caught:
            npu.greedy("light", **members)
        assert caught.value.code == "unsupported"


def test_a_runtime_that_is_not_there_is_named(tmp_path):
    home = npu_household(tmp_path, NEWEST)
    try:
        home.settings[-1] = "engine.library=/nowhere/librkllmrt.so"
        home.start()
        (model,) = home.ask("model.list")["models"]
        assert model["state"] == "failed"
        assert "/nowhere/librkllmrt.so" in model["reason"]
    finally:
        home.close()


TAGS = "image_start: <|vision_start|>\nimage_end: <|vision_end|>\nimage_content: <|image_pad|>\n"
HEARS = "audio_start: <|audio_bos|>\naudio_end: <|audio_eos|>\naudio_content: <|AUDIO|>\n"


def sees(home, settings=TAGS):
    (home.models / "parrot" / "model.yaml").write_text(settings)
    return home


def shown(home, *parts, **members):
    """A chat about embeddings, greedy."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    messages = [{"role": "user", "content": content}]
    members = {"temperature": 0, "max_tokens": 12, "stream": False, **members}
    return home.ask(messages=messages, **members)


def in_data(content, kind="image"):
    return {"type": f"{kind}_embedding", "data": base64.b64encode(content).decode()}


def test_the_story_of_an_image(of_each_release):
    home = sees(of_each_release).start()
    (model,) = home.ask("model.show")["models"]
    assert model["capabilities"]["images"] == {"ability": "unknown", "reason": ""}
    lamp, door = in_data(scene(1).npy), in_data(scene(2).npy)
    cold = shown(home, lamp, "what is this", use_cache=False)
    assert cold["usage"]["cached_tokens"] == 0
    assert cold["usage"]["prompt_tokens"] > len(SYSTEM.split())
    other = shown(home, door, "what is this")
    assert other["text"] != cold["text"], "answers depend on the image"
    plain = home.greedy("what is this")["text"]
    for _ in range(2):
        warm = shown(home, lamp, "what is this")
        assert (warm["text"], warm["usage"]["cache_hit"]) == (cold["text"], True)
        assert warm["usage"]["prompt_tokens"] == cold["usage"]["prompt_tokens"]
        assert home.greedy("what is this")["text"] == plain
    spelled = "<|vision_start|>" + "<|image_pad|>" * 5 + "<|vision_end|>what is this"
    assert home.greedy(spelled)["text"] not in {cold["text"], plain}
    assert shown(home, lamp, "what is this")["text"] == cold["text"], "text was taken for an image"
    for wrong in (scene(1, width=15), scene(1, rows=4090)):
        with pytest.raises(DaemonError):
            shown(home, in_data(wrong.npy), "what is this")
        assert home.greedy("what is this")["text"] == plain


def test_images_and_sounds_by_every_way(npu, tmp_path):
    home = sees(npu, TAGS + HEARS).start()
    image, sound = scene(1), scene(2, rows=7, kind="audio")
    expected = shown(home, in_data(image.npy), "what is this")
    file = tmp_path / "x.npy"
    file.write_bytes(image.npy)
    by_path = {"type": "image_embedding", "path": str(file)}
    assert shown(home, by_path, "what is this")["text"] == expected["text"]
    heard = shown(home, in_data(sound.npy, "audio"), "what was that")
    both = shown(home, by_path, "what was that", in_data(sound.npy, "audio"))
    assert len({expected["text"], heard["text"], both["text"]}) == 3
    session = shown(home, by_path, "what is this", session="s")
    assert session["text"] == expected["text"]
    assert any("does not keep images" in warning for warning in session["warnings"])
    history = home.ask("session.show", session="s")["messages"]
    assert history[0]["content"][0]["text"] == "(image)"
    assert home.greedy("and now", session="s")["event"] == "done"
    prefix = home.ask("prefill", messages=[{"role": "user", "content": [by_path]}])
    assert prefix["prompt_tokens"] > 0
    assert shown(home, by_path, "what is this")["text"] == expected["text"]
    with pytest.raises(DaemonError, match="no link"):
        shown(home, {"type": "image_embedding", "path": "/dev/zero"})
    with pytest.raises(DaemonError, match="found a PNG picture: the vision encoder is not part"):
        shown(home, in_data(b"\x89PNG\r\n\x1a\n"))


def test_a_crash_in_a_run_with_an_image_costs_nothing_else(npu):
    home = sees(npu).start(**script(npu, ""))
    image = in_data(scene(1).npy)
    expected = shown(home, image, "what is this")["text"]
    (home.folder / "script").write_text("prefill=crash once")
    again = shown(home, image, "what is this")
    assert again["text"] == expected
    assert any("run again" in warning for warning in again["warnings"])


def test_a_model_without_tags_takes_no_image(npu):
    npu.start()
    with pytest.raises(DaemonError, match=r"no image: model\.yaml has no") as caught:
        shown(npu, in_data(scene(1).npy), "what is this")
    assert caught.value.code == "unsupported"
    assert npu.greedy("hello")["event"] == "done"


def test_logits_for_developers(npu):
    npu.start()
    expected = npu.greedy("hello")["text"]
    found = npu.ask("logits", prompt="is the door shut", top=3)
    logits = [one["logit"] for one in found["logits"]]
    assert (len(logits), found["vocabulary"], found["prompt_tokens"]) == (3, 151936, 4)
    assert logits == sorted(logits, reverse=True)
    assert npu.ask("logits", prompt="is the door shut", top=3)["logits"] == found["logits"]
    assert npu.ask("logits", prompt="is the door open", top=3)["logits"] != found["logits"]
    assert npu.greedy("hello")["text"] == expected
