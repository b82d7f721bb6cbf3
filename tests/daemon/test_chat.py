"""Asking the daemon: every way to ask, many at a time, and stopping."""

import json
import os
import signal
import socket
import subprocess
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.client import DaemonError
from tests.daemon.household import PATIENCE_SECONDS


def shell(running, command):
    """What a user's command line prints."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        timeout=PATIENCE_SECONDS,
        check=False,
        env={**os.environ, "S": str(running.socket)},
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_socat_prints_the_answer(running):
    request = '{"op":"chat","text":"hello","temperature":0,"max_tokens":20}'
    printed = shell(
        running,
        f"echo '{request}' | socat -t60 - UNIX-CONNECT:$S | jq -r 'select(.event==\"done\").text'",
    )
    assert printed.rstrip("\n") == running.greedy("hello", max_tokens=20)["text"]


def test_nc_prints_the_answer_as_it_comes(running):
    request = '{"op":"chat","text":"hello","temperature":0,"max_tokens":20}'
    printed = shell(
        running,
        f"echo '{request}' | nc -NU $S | jq -rj --unbuffered 'select(.event==\"delta\").text'",
    )
    assert printed == running.greedy("hello", max_tokens=20)["text"]


def test_a_shell_speaks_sentence_by_sentence(running):
    request = '{"op":"chat","text":"hello","temperature":0,"max_tokens":60}'
    printed = shell(
        running,
        f"say() {{ echo \"said: $1\"; }}; echo '{request}' | socat -t60 - UNIX-CONNECT:$S | "
        "jq -r --unbuffered 'select(.event==\"sentence\").text' | "
        'while read -r s; do say "$s"; done',
    )
    assert printed.startswith("said: ")


def test_a_shell_cancels_a_session(running):
    with running.client() as client:
        events = client.events("chat", text="go", session="kitchen", max_tokens=1500)
        next(event for event in events if event["event"] == "delta")
        reply = json.loads(
            shell(running, 'echo \'{"op":"cancel","session":"kitchen"}\' | nc -NU $S')
        )
        done = list(events)[-1]
    assert reply["cancelled"] == 1
    assert done["reason"] == "cancelled"


@pytest.mark.parametrize(
    ("stream", "kinds"),
    [
        ("tokens", {"delta"}),
        ("sentences", {"sentence"}),
        ("both", {"delta", "sentence"}),
        (False, set()),
    ],
)
def test_stream_modes_tell_the_same_answer(running, stream, kinds):
    expected = running.greedy("tell me", max_tokens=40)["text"]
    with running.client() as client:
        events = list(
            client.events("chat", text="tell me", temperature=0, max_tokens=40, stream=stream)
        )
    assert events[-1]["text"] == expected
    assert {e["event"] for e in events[:-1]} - {"progress", "queued"} == kinds
    if "delta" in kinds:
        assert "".join(e["text"] for e in events if e["event"] == "delta") == expected


@settings(max_examples=10)
@given(st.data())
def test_stop_texts_end_the_answer_wherever_they_are_cut(running, data):
    whole = running.greedy("one two", max_tokens=40)["text"]
    start = data.draw(st.integers(1, len(whole) - 2))
    stop = whole[start : start + data.draw(st.integers(1, 6))]
    answer = running.greedy("one two", max_tokens=40, stop=stop)
    assert answer["text"] == whole[: whole.index(stop)]
    assert answer["reason"] == "stop"


def test_max_tokens_and_seed(running):
    answer = running.greedy("count", max_tokens=5)
    assert answer["reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5
    seeded = [running.greedy("count", temperature=1.5, seed=7)["text"] for _ in range(2)]
    assert seeded[0] == seeded[1]
    assert running.greedy("count", max_tokens=0)["text"] == ""


def test_complete_goes_on_with_a_text(running):
    answer = running.ask("complete", prompt="Turn on the", temperature=0, max_tokens=8)
    again = running.ask(
        "complete", prompt="Turn on the" + answer["text"][:0], temperature=0, max_tokens=8
    )
    assert answer["text"] == again["text"]
    assert answer["usage"]["prompt_tokens"] == running.ask("tokenize", text="Turn on the")["count"]


def test_a_voice_does_not_wait_for_many_texts_to_embed(running):
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(PATIENCE_SECONDS)
        wire.connect(str(running.socket))
        many = {"id": "many", "op": "embed", "input": ["light on"] * 2048}
        voice = {"id": "voice", "op": "chat", "text": "hi", "priority": "voice", "max_tokens": 2}
        wire.sendall(b"".join(json.dumps(one).encode() + b"\n" for one in (many, voice)))
        finals = (event for event in map(json.loads, wire.makefile("rb")) if event.get("final"))
        first = next(finals)
    assert (first["id"], first["event"]) == ("voice", "done")


def test_embed_gives_vectors_of_length_one(running):
    reply = running.ask("embed", input=["light on", "light off"])
    assert len(reply["embeddings"]) == 2
    for vector in reply["embeddings"]:
        assert len(vector) == reply["dimensions"]
        assert sum(value * value for value in vector) == pytest.approx(1.0, abs=1e-5)
    single = running.ask("embed", input="light on")
    assert single["embeddings"][0] == pytest.approx(reply["embeddings"][0], abs=1e-6)


@pytest.mark.parametrize(
    ("request_", "code", "says"),
    [
        ({"op": "chat", "text": "x", "model": "nobody"}, "unknown_model", "parrot"),
        ({"op": "chat", "text": "x", "temperature": "hot"}, "bad_request", "temperature"),
        ({"op": "chat"}, "bad_request", "text"),
        ({"op": "chat", "text": "x", "messages": []}, "bad_request", "one of them"),
        ({"op": "chta", "text": "x"}, "unknown_op", "chat"),
        ({"op": "session.show", "session": "never"}, "unknown_session", "never"),
        ({"op": "cache.delete", "model": "parrot", "name": "never"}, "unknown_cache", "never"),
        ({"op": "help", "about": "chta"}, "unknown_op", "chat"),
    ],
)
def test_a_bad_request_says_what_was_wrong(running, request_, code, says):
    with running.client() as client, pytest.raises(DaemonError) as caught:
        client.call(request_.pop("op"), **request_)
    assert caught.value.code == code
    assert says in str(caught.value)
    assert caught.value.hint


def test_a_prompt_beyond_the_context_says_both_numbers(running):
    with pytest.raises(DaemonError) as caught:
        running.greedy("word " * 3000)
    assert caught.value.code == "context_overflow"
    assert caught.value.details["context_tokens"] == 2048
    assert caught.value.details["prompt_tokens"] > 2048


def test_a_long_session_drops_whole_turns_and_says_so(running):
    warned = False
    for turn in range(12):
        answer = running.greedy(f"turn {turn} " + "word " * 100, session="long")
        warned = warned or any("oldest turns" in warning for warning in answer["warnings"])
    assert warned
    assert answer["usage"]["prompt_tokens"] < 2048


def test_sessions_remember(running):
    first = running.greedy("my name is Ada", session="memory")
    second = running.greedy("what is my name?", session="memory")
    alone = running.greedy("what is my name?")
    assert second["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"]
    shown = running.ask("session.show", session="memory")
    said = [message["content"] for message in shown["messages"]]
    assert said == ["my name is Ada", first["text"], "what is my name?", second["text"]]
    kept = running.ask("session.truncate", session="memory", chars=3)["kept"]
    assert kept == second["text"][:3]
    assert "memory" in {one["session"] for one in running.ask("session.list")["sessions"]}
    running.ask("session.reset", session="memory")
    with pytest.raises(DaemonError):
        running.ask("session.show", session="memory")


def test_the_next_turn_of_a_session_prefills_only_what_is_new(running):
    first = running.greedy("first", session="warm", max_tokens=30)
    second = running.greedy("second", session="warm", max_tokens=5)
    # A random model writes bytes that are no text, so its own words may be computed again.
    assert second["usage"]["cached_tokens"] >= first["usage"]["prompt_tokens"] - 1


def test_requests_on_one_connection_interleave_and_each_ends_once(running):
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rwb") as lines:
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(str(running.socket))
        texts = {f"r{number}": f"say {number}" for number in range(20)}
        for identity, text in texts.items():
            ask = {"id": identity, "op": "chat", "text": text, "temperature": 0, "max_tokens": 6}
            lines.write(json.dumps(ask).encode() + b"\n")
        lines.flush()
        connection.shutdown(socket.SHUT_WR)
        replies = [json.loads(line) for line in lines]
    finals = (
        [reply for reply in replies if reply["final"] is True]
        if False
        else [reply for reply in replies if reply.get("final")]
    )
    assert sorted(reply["id"] for reply in finals) == sorted(texts)
    for reply in finals:
        assert reply["text"] == running.greedy(texts[reply["id"]], max_tokens=6)["text"]
        said = "".join(
            other["text"]
            for other in replies
            if other["id"] == reply["id"] and other["event"] == "delta"
        )
        assert said == reply["text"]


def test_two_clients_never_see_each_others_words(running):
    expected = {text: running.greedy(text, max_tokens=25)["text"] for text in ("left", "right")}
    heard: dict[str, list[str]] = {"left": [], "right": []}

    def talk(text):
        with running.client() as client:
            for _ in range(6):
                pieces = [
                    event["text"]
                    for event in client.events(
                        "chat", text=text, temperature=0, max_tokens=25, stream="tokens"
                    )
                    if event["event"] == "delta"
                ]
                heard[text].append("".join(pieces))

    threads = [threading.Thread(target=talk, args=(text,)) for text in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == {text: [answer] * 6 for text, answer in expected.items()}


def test_cancel_by_id_ends_with_its_own_done(running):
    with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rwb") as lines:
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(str(running.socket))
        lines.write(b'{"id":"a","op":"chat","text":"go","max_tokens":1500}\n')
        lines.flush()
        while json.loads(lines.readline())["event"] != "delta":
            pass
        lines.write(b'{"id":"b","op":"cancel","target":"a"}\n')
        lines.flush()
        connection.shutdown(socket.SHUT_WR)
        rest = [json.loads(line) for line in lines]
    finals = {reply["id"]: reply for reply in rest if reply.get("final")}
    assert finals["b"]["cancelled"] == 1
    assert finals["a"]["event"] == "done"
    assert finals["a"]["reason"] == "cancelled"
    cancelled = next(i for i, reply in enumerate(rest) if reply["id"] == "b")
    assert not any(r["event"] == "delta" for r in rest[cancelled:]), "a word after the cancel"


def test_a_client_that_vanishes_frees_the_worker(running):
    before = running.ask("status")["queue"]["parrot"]
    assert before == {"running": False, "waiting": 0}
    client = running.client()
    events = client.events("chat", text="go", max_tokens=1500, use_cache=False)
    next(events)
    client._socket.close()
    client._socket = None
    running.until(
        lambda: running.ask("status")["queue"]["parrot"] == {"running": False, "waiting": 0},
        "a free worker",
    )


def test_voice_goes_before_what_waits(running):
    order = []

    def ask(name, **members):
        running.greedy("x", max_tokens=60, **members)
        order.append(name)

    with running.client() as busy:
        events = busy.events("chat", text="go", max_tokens=1600, temperature=0, stream="tokens")
        next(event for event in events if event["event"] == "delta")
        threads = []
        for name, members in (
            ("background", {"priority": "background"}),
            ("normal", {}),
            ("voice", {"priority": "voice"}),
        ):
            thread = threading.Thread(target=ask, args=(name,), kwargs=members)
            thread.start()
            threads.append(thread)
            waiting = len(threads)
            running.until(
                lambda n=waiting: running.ask("status")["queue"]["parrot"]["waiting"] == n
            )
        list(events)
        for thread in threads:
            thread.join()
    assert order == ["voice", "normal", "background"]


def test_background_gives_way_and_is_finished_afterwards(assistant):
    question = "Tell me a joke."
    whole = assistant.greedy(question, max_tokens=60)["text"]
    with assistant.client() as client:
        events = client.events(
            "chat", text=question, max_tokens=60, temperature=0, stream="tokens",
            priority="background",
        )  # fmt: skip
        heard = next(event for event in events if event["event"] == "delta")["text"]
        voice = assistant.greedy("Hello", priority="voice", max_tokens=5)
        assert voice["event"] == "done"
        rest = list(events)
    heard += "".join(event["text"] for event in rest if event["event"] == "delta")
    assert heard == whole == rest[-1]["text"]


def test_a_deadline_that_cannot_be_met_fails(running):
    with pytest.raises(DaemonError) as caught:
        running.greedy("word " * 250, deadline_ms=1, use_cache=False)
    assert caught.value.code == "deadline"


def test_killing_a_worker_in_the_middle_costs_that_answer_only(household):
    household.start()
    (worker,) = household.worker_pids()
    with household.client() as client:
        events = client.events("chat", text="go", max_tokens=1500, stream="tokens")
        next(event for event in events if event["event"] == "delta")
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(DaemonError) as caught:
            list(events)
    assert caught.value.code == "engine_crashed"
    assert "SIGKILL" in str(caught.value)
    after = household.greedy("hello")
    assert after["event"] == "done"
    assert after["usage"]["cache_hit"], "the replacement had the cache from its file"


def test_a_request_that_had_said_nothing_is_run_again(household):
    household.start()
    expected = household.greedy("word " * 300, use_cache=False)
    (worker,) = household.worker_pids()
    with household.client() as client:
        events = client.events(
            "chat", text="word " * 300, temperature=0, max_tokens=12, use_cache=False
        )
        next(event for event in events if event["event"] == "progress")
        os.kill(worker, signal.SIGKILL)
        done = list(events)[-1]
    assert done["text"] == expected["text"]
    assert any("run again" in warning for warning in done["warnings"])
