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
    assert [line.split()[0] for line in text.splitlines()[1:]][:3] == ["cold", "live", "file"]
    assert ElementTree.parse(file).getroot().tag.endswith("svg")
    found = ctl.json("bench", "--runs", "1")
    assert len(found["values"]["cold"]) == 1
    assert found["results"]["cold"]["median"] == found["results"]["cold"]["max"]
    assert ctl.json("bench", "--runs", "0", status=2)["code"] == "bad_request"
    told = ctl.json("bench", "--runs", "1", "--plot", "/nowhere/x.svg", status=6)
    assert told["code"] == "storage_full"


def test_a_plot_of_nothing_is_a_plot():
    assert ElementTree.fromstring(plot({})).tag.endswith("svg")
