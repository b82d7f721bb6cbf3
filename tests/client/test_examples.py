"""The examples of the documentation, run on a daemon."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.daemon.household import PATIENCE_SECONDS, ROOT

EXAMPLES = ROOT / "docs" / "examples"


PROGRAMS = re.findall(r"(?s)```python\n(.*?)```", (ROOT / "docs" / "client.md").read_text())
MY_VOICE = """
import asyncio

heard = asyncio.Event()

async def speak(text):
    print("spoken:", text, flush=True)
    asyncio.get_running_loop().call_soon(heard.set)  # once the loop knows that it was heard

async def microphone():
    yield "wake", ""
    yield "partial", "Tell me"
    yield "final", "Tell me a long story."
    await heard.wait()
    yield "wake", ""
    yield "partial", "What is"
    yield "final", "What is your name?"
"""


def run(*command, text="", **environment):
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_voice_loop(assistant):
    loop = (sys.executable, EXAMPLES / "voice_loop.py", assistant.socket)
    said = run(*loop, text="Hel\nHello\n")
    assert said.startswith("speaking: ")
    interrupted = run(*loop, "1", text="Hello\n")
    assert interrupted.splitlines()[-1] == "interrupted"
    history = assistant.ask("session.show", session="kitchen")["messages"]
    assert f"speaking: {history[-1]['content']}" == interrupted.splitlines()[0]


def test_the_programs_of_the_page_on_the_library(assistant, tmp_path):
    (tmp_path / "my_voice.py").write_text(MY_VOICE)
    where = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "RKLLMD_SOCKET": str(assistant.socket)}
    said = [run(sys.executable, "-W", "error", "-c", text, **where) for text in PROGRAMS]
    assert "tokens were not computed again\nready\n" in said[0]
    spoken = re.findall("(?m)^spoken: (.*)$", said[1])
    history = assistant.ask("session.show", session="kitchen")["messages"]
    contents = [one["content"] for one in history[-4:]]
    assert contents[0::2] == ["Tell me a long story.", "What is your name?"]
    assert " ".join(contents[1::2]) == " ".join(spoken), "what was not heard was not said"
    assert said[2]


def test_the_shell(assistant):
    assert run(EXAMPLES / "speak.sh", "Hello", assistant.socket).strip()


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_node(assistant):
    assert run(EXAMPLES / "ask.js", "Hello", assistant.socket).strip()


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_cpp(assistant, tmp_path):
    program = tmp_path / "ask"
    run("g++", "-std=c++17", "-Wall", "-Werror", "-o", program, EXAMPLES / "ask.cpp")
    lines = run(program, 'Say "hello"', assistant.socket).splitlines()
    assert json.loads(lines[-1])["event"] == "done"
