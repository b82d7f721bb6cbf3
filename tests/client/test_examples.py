"""The examples of the documentation, run on a daemon."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.daemon.household import PATIENCE_SECONDS, ROOT

EXAMPLES = ROOT / "docs" / "examples"


def run(*command, text=""):
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
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
