"""A model on the llama engine, through a daemon: answers, caches and what is known of it."""

import os
import re
import subprocess
import sys

import pytest

from rkllmd.client import DaemonError
from tests.daemon.household import ROOT
from tools.gguf_write import gguf
from tools.random_model import Sizes, metadata, tensors


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


@pytest.fixture
def without_extras(tmp_path):
    """An environment in which a Python finds neither llama.cpp nor llguidance."""
    folder = tmp_path / "python"
    folder.mkdir()
    hidden = "import sys\nsys.modules.update(xllamacpp=None, llguidance=None)\n"
    (folder / "sitecustomize.py").write_text(hidden)
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


def test_without_the_extras_everybody_is_told_what_to_install(household, parrot, without_extras):
    os.truncate(household.add_model("whale", parrot), 65 << 20)
    household.settings.append("models.default=parrot")
    household.start(**without_extras)
    with pytest.raises(DaemonError, match=r"pip install 'rkllmd\[constrain\]'") as refused:
        household.greedy("hello", format="json")
    assert refused.value.code == "unsupported"
    assert household.greedy("hello")["text"]
    (shown,) = household.ask("model.show", model="parrot")["models"]
    assert "rkllmd[constrain]" in shown["capabilities"]["grammar"]["reason"]

    with pytest.raises(DaemonError, match=r"pip install 'rkllmd\[llama\]'") as refused:
        household.greedy("hello", model="whale")
    assert refused.value.code == "load_failed"
    (shown,) = household.ask("model.show", model="whale")["models"]
    wanted = "llama.cpp, which runs this model, is not installed (pip install 'rkllmd[llama]')"
    assert (shown["engine"], shown["state"], shown["reason"]) == ("llama", "failed", wanted)
    assert wanted in [model["reason"] for model in household.ask("status")["models"]]
    command = [sys.executable, "-m", "rkllmd.cli.ctl", "--socket", household.socket, "doctor"]
    command += ["--config", household.folder / "rkllmd.yaml"]
    environment = {**os.environ, **without_extras}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "problem model whale: it needs llama.cpp, which is not installed" in told.stdout
    assert "pip install 'rkllmd[llama]'" in told.stdout


def test_a_file_that_is_no_model_is_told_and_harms_nobody(household, parrot):
    whole, described = parrot.read_bytes(), metadata(Sizes())
    asserted = {**described, "llama.attention.layer_norm_rms_epsilon": float("nan")}
    broken = (
        ("cut", whole[: len(whole) // 2], "data is not within the file bounds"),
        ("named", b"nope" + whole[4:], "invalid magic characters: 'nope'"),
        ("counted", whole[:8] + b"\xff" * 16 + whole[24:], "number of tensors is -1"),
        ("layered", gguf({**described, "llama.block_count": 1 << 31}, {}), "2147483648 layers"),
        ("asserted", gguf(asserted, tensors(Sizes(), described, 0)), "SIGABRT.*eps >= 0"),
    )
    for name, data, _ in broken:
        file = household.add_model(name, parrot)
        file.write_bytes(data)
        (file.parent / "model.yaml").write_text("engine: llama\n")
    household.settings += ["models.default=parrot", "engine.restarts_max=1"]
    household.start()
    for name, _, words in broken:
        with pytest.raises(DaemonError, match=words) as refused:
            household.greedy("hello", model=name)
        assert refused.value.code in ("load_failed", "engine_crashed")
        (shown,) = household.ask("model.show", model=name)["models"]
        assert shown["state"] == "failed"
        assert re.search(words, shown["reason"])
    assert household.greedy("hello")["reason"] == "length"
