"""Models without a daemon: prefixes are reused over calls and processes, and change no word."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rkllmd import local
from rkllmd.errors import RkllmdError
from tools.random_model import Sizes, write_random_model

ROOT = Path(__file__).parent.parent.parent
SYSTEM = "You are Nova, the voice assistant of this home. Answer in one short sentence. " * 4
SCRIPT = """
import json, sys
from rkllmd import local
with local.open(sys.argv[1], cache=sys.argv[2]) as model:
    answer = model.generate(
        "hello", system=sys.argv[3], cache="nova", max_tokens=12, temperature=0
    )
print(json.dumps([answer.text, answer.prompt_tokens, answer.cached_tokens, answer.cache_hit]))
"""


@pytest.fixture(scope="module")
def parrot(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "parrot"
    folder.mkdir()
    write_random_model(folder / "model.gguf", Sizes(context=2048), seed=1)
    return folder


def greedy(model, words, **members):
    return model.generate(words, max_tokens=12, temperature=0, **members)


def test_a_prefix_is_reused_over_calls_and_changes_no_word(parrot, tmp_path):
    with local.open(parrot, cache=tmp_path / "none") as model:
        expected = {words: greedy(model, words, system=SYSTEM).text for words in ("hello", "bye")}
    with local.open(parrot, cache=tmp_path) as model:
        for words in ("hello", "bye", "hello"):
            answer = greedy(model, words, system=SYSTEM, cache="nova")
            assert answer.text == expected[words]
            assert answer.cache_hit
            assert answer.prompt_tokens - answer.cached_tokens < 30
        other = greedy(model, "hello", system="Another text. " * 9, cache="nova")
        assert other.text == greedy(model, "hello", system="Another text. " * 9).text
        assert greedy(model, "hello", system=SYSTEM, cache="nova").text == expected["hello"]


def test_a_prefix_is_reused_by_other_processes(parrot, tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(parrot), str(tmp_path), SYSTEM]
    answers, built = [], set()
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=50)
        answers.append(json.loads(done.stdout))
        built.add((tmp_path / "parrot" / "nova.rkllm_cache").stat().st_mtime_ns)
    assert answers[0][0] == answers[1][0]
    assert all(hit for *_, hit in answers)
    assert answers[1][1] - answers[1][2] < 30
    assert len(built) == 1, "it was built again"


def test_a_whole_prompt_is_kept_where_there_is_no_system_prompt(parrot, tmp_path):
    words = "Tell me of the sea. " * 20
    answers = [
        local.generate(parrot, words, cache=tmp_path, max_tokens=8, temperature=0) for _ in "12"
    ]
    assert answers[0].text == answers[1].text
    assert answers[1].cache_hit
    assert answers[1].prompt_tokens - answers[1].cached_tokens <= 1


def test_what_was_stored_under_a_name_serves_without_being_said_again(parrot, tmp_path):
    with local.open(parrot, cache=tmp_path) as model:
        said = greedy(model, "hello", system=SYSTEM, cache="nova").text
        again = greedy(model, "hello", cache="nova")
    assert (again.text, again.cache_hit) == (said, True)


def test_words_are_heard_as_they_come(parrot, tmp_path):
    heard = []
    with local.open(parrot, cache=tmp_path) as model:
        answer = greedy(model, "hello", on_text=heard.append)
        model.close()
    assert "".join(heard) == answer.text
    assert len(heard) > 1


def test_a_damaged_state_costs_only_time(parrot, tmp_path):
    with local.open(parrot, cache=tmp_path) as model:
        said = greedy(model, "hello", system=SYSTEM, cache="nova").text
    path = tmp_path / "parrot" / "nova.rkllm_cache"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with local.open(parrot, cache=tmp_path) as model:
        again = greedy(model, "hello", system=SYSTEM, cache="nova")
    assert (again.text, again.cache_hit) == (said, True)


def test_what_is_no_model_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(RkllmdError):
        local.open(tmp_path / "nowhere", cache=tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "model.gguf").write_bytes(b"rubbish")
    with pytest.raises(RkllmdError):
        local.open(tmp_path / "bad", cache=tmp_path)


def test_a_name_that_is_none_is_refused(parrot, tmp_path):
    with local.open(parrot, cache=tmp_path) as model, pytest.raises(RkllmdError):
        model.generate("hello", cache="../nova")
