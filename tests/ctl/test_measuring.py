"""top and bench: figures from a running daemon."""

import json
import signal
from xml.etree import ElementTree

from rkllmd.board.reading import read_board
from rkllmd.cli.ctl.bench import plot
from rkllmd.cli.ctl.top import board_lines
from tests.board.test_board import ROCK, tree


def test_top(ctl):
    text = ctl.run("top", "--count", "2", "--interval", "0")
    assert text.count("parrot/system") == 2
    looks = ctl.run("top", "--count", "2", "--interval", "0", "--json").splitlines()
    assert [json.loads(look)["status"]["state"] for look in looks] == ["ready", "ready"]
    with ctl.start("top", "--interval", "60") as process:
        assert process.stdout.readline().startswith("rkllmd ")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert "Traceback" not in process.stderr.read()


def test_a_board_in_lines(tmp_path):
    lines = board_lines(read_board(tree(tmp_path, ROCK)))
    assert lines[0] == "NPU           core 0: 45 %  core 1: 4 %  core 2: 0 %"
    assert "dmc: 2112 MHz" in lines[1]
    assert "soc-thermal: 44 °C" in lines[2]
    assert lines[3].endswith("available")


def test_bench(ctl, tmp_path):
    file = tmp_path / "bench.svg"
    text = ctl.run("bench", "--runs", "2", "--plot", str(file))
    assert [line.split()[0] for line in text.splitlines()[1:]][:3] == ["cold", "prefill", "live"]
    assert ElementTree.parse(file).getroot().tag.endswith("svg")
    found = ctl.json("bench", "--runs", "1")
    assert len(found["values"]["cold"]) == 1
    assert found["results"]["cold"]["median"] == found["results"]["cold"]["max"]
    assert ctl.json("bench", "--runs", "0", status=2)["code"] == "bad_request"
    told = ctl.json("bench", "--runs", "1", "--plot", "/nowhere/x.svg", status=6)
    assert told["code"] == "storage_full"


def test_two_models_are_compared(ctl_of, household, parrot):
    household.add_model("cockatoo", parrot)
    (household.models / "cockatoo" / "model.yaml").write_text("engine: llama\n")
    household.settings.append("engine.threads=1")
    household.start()
    ctl = ctl_of(household)
    lines = ctl.run("bench", "--compare", "parrot", "cockatoo", "--runs", "1").splitlines()
    assert lines[0].lower().split() == ["median", "of", "parrot", "cockatoo", "unit", "meaning"]
    assert lines[1].split()[:3] == ["engine", "tiny", "llama"]
    assert [line.split()[0] for line in lines[2:]] == [
        "memory", "cold", "prefill", "live", "file", "speed", "cancel",
    ]  # fmt: skip
    told = ctl.json("bench", "--compare", "cockatoo", "parrot", "--runs", "1")["compared"]
    assert [(one["model"], one["engine"]) for one in told] == [
        ("cockatoo", "llama"), ("parrot", "tiny"),
    ]  # fmt: skip
    assert all(one["results"]["speed"]["median"] > 0 for one in told)
    for name in ("parrot", "cockatoo"):
        (shown,) = ctl.json("model", "show", name)["models"]
        assert shown["prefill_tokens_per_s"] > 0 < shown["decode_tokens_per_s"]
    for wrong in (["parrot", "parrot"], ["parrot", "cockatoo", "--plot", "x.svg"]):
        assert ctl.json("bench", "--compare", *wrong, status=2)["code"] == "bad_request"
    assert ctl.json("bench", "--compare", "parrot", "owl", status=3)["code"] == "unknown_model"


def test_a_plot_of_nothing_is_a_plot():
    assert ElementTree.fromstring(plot({})).tag.endswith("svg")
