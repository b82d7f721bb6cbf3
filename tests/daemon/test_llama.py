"""A model on the llama engine, through a daemon: answers, caches and what is known of it."""


def test_llama_answers_from_a_cache_that_outlives_a_restart(household):
    (household.models / "parrot" / "model.yaml").write_text("engine: llama\n")
    household.settings.append("engine.threads=1")
    household.start()
    (shown,) = household.ask("model.show", model="parrot")["models"]
    assert (shown["engine"], shown["state"]) == ("llama", "ready")
    cold = household.greedy("hello", use_cache=False)
    assert cold["usage"]["cached_tokens"] == 0
    household.restart()
    (entry,) = household.ask("cache.show")["caches"]
    assert entry["state"] == "verified"
    warm = household.greedy("hello")
    assert warm["text"] == cold["text"]
    assert warm["usage"]["cached_prompts"] == ["system"]
    assert warm["usage"]["cached_tokens"] >= entry["tokens"] - 1
    assert household.log.read_text().count("built parrot/system") == 1
