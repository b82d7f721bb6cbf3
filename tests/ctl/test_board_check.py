"""The report of a board: on this machine, which is none, and on the simulated runtime."""

import subprocess
import sys

import pytest

from tests.board.test_board import ROCK, tree
from tests.daemon.household import ROOT, Household
from tests.fakes.rkllm.built import NEWEST, built, make_model
from tools.boards import facts
from tools.boards.questions import QUESTIONS, Question


def report(ctl, *options):
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "board-check", *options], env=ctl.environment, text=True,
        capture_output=True, check=True, timeout=100,
    )  # fmt: skip
    return done.stdout


def answers(text):
    """What is said below each question."""
    lines = text.split("\n## Questions\n")[1].splitlines()
    pairs = zip(lines[:-1:2], lines[1::2], strict=True)  # the last line has the sum
    return {head.split(": ", 1)[1]: said.strip() for head, said in pairs}


def test_the_report_of_a_machine_that_is_no_board(ctl):
    text = report(ctl)
    heads = [line for line in text.splitlines() if line.startswith("## ")]
    assert heads == ["## Board", "## doctor", "## status", "## model list", "## cache list",
                     "## bench --runs 3", "## Experiments", "## Questions"]  # fmt: skip
    assert text.count("exit status 0") == 5, text
    assert "/proc/rknpu/version: " in text
    assert answers(text).keys() == {one.asked for one in QUESTIONS}
    assert all(said.startswith("by hand: ") for said in answers(text).values())


@pytest.fixture
def npu(tmp_path):
    home = Household(tmp_path, make_model(tmp_path / "parrot.rkllm"))
    (home.models / "parrot" / "model.gguf").rename(home.models / "parrot" / "model.rkllm")
    with (home.folder / "rkllmd.yaml").open("a") as file:
        file.write(f"engine: {{library: {built(NEWEST)}}}\n")
    yield home
    home.close()


def test_the_runtime_is_asked_and_the_model_is_there_again(npu, ctl_of):
    text = report(ctl_of(npu.start()))
    said = answers(text)
    assert said["Does this release carry its version where others do?"].startswith(NEWEST)
    assert said["Is a loaded prefix used?"].startswith("yes: ")
    assert said["Does a second run after one load still have it?"].startswith("yes: ")
    assert said["Is the callback on the thread that called rkllm_run?"] == "yes"
    assert said["Is rkllm_is_running 1 during a run?"].endswith("after: 0")
    assert said["Is the file there when rkllm_run returns?"] == "yes"
    assert said["Does a prompt beyond the window return -1, without a callback?"].startswith(
        "-1 with 0 callbacks"
    )
    assert npu.ask("model.show", model="parrot")["models"][0]["state"] == "ready"
    unanswered = {asked for asked, answer in said.items() if answer.startswith("by hand: ")}
    ours = {one.asked for one in QUESTIONS if one.about == "board" or "run this" not in one.by_hand}
    assert unanswered <= ours, "an experiment has found nothing"


def test_a_board_answers_what_its_files_tell(tmp_path):
    tree(tmp_path, {**ROCK, "proc/cpuinfo": "processor : 0\nFeatures\t: fp asimd crc32\n"})
    found = facts.of_board(tmp_path)
    assert "/sys/module/rknpu/version: '0.9.8'" in found["board.files"]
    assert "/proc/rknpu/version: no (" in found["board.files"]
    assert found["board.features"] == "SVE: no; asimd crc32 fp"
    assert "platform-fdab0000.npu-render" in found["board.nodes"]


def test_the_documentation_has_the_questions_and_what_to_do_by_hand():
    table = (ROOT / "docs" / "boards.md").read_text().split("|---|---|---|\n")[1]
    rows = [line.replace("\\|", "¦") for line in table.splitlines() if line.startswith("|")]
    by_hand_only = Question("", "").answer
    assert [[cell.strip() for cell in row.split("|")[1:4]] for row in rows] == [
        [one.about, one.asked, one.by_hand.replace("|", "¦") * (one.answer is by_hand_only)]
        for one in QUESTIONS
    ]
