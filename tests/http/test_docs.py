"""What the documentation shows is what happens."""

import json
import re

import pytest

from tests.daemon.household import ROOT, Household
from tests.http.conftest import served
from tools import http_doc

MODEL = ROOT / "models" / "tiny-assistant" / "tiny-assistant.gguf"


@pytest.fixture(scope="module")
def assistant(tmp_path_factory):
    """A daemon on the bundled model."""
    home = Household(tmp_path_factory.mktemp("docs"), MODEL)
    (home.models / "parrot").rename(home.models / "tiny-assistant")
    home.write_prompt("system", (ROOT / "etc" / "config" / "system.txt").read_text())
    yield served(home).start()
    home.close()


def test_the_worked_examples_answer_as_shown(assistant):
    url = f"http://127.0.0.1:{assistant.port}"
    shown = list(http_doc.examples(http_doc.PAGE.read_text()))
    story = "".join(command for command, _ in shown)
    for part in (
        '/v1/cache/tiny-assistant -d', "/v1/chat/completions", "/v1/completions",
        '"role": "assistant"', "$H/v1/cache/tiny-assistant |", "/v1/cache/tiny-assistant/kitchen",
        "generate-binary -d '{\"cache_name\": \"kitchen\"}'", "-X DELETE", "/ask",
    ):  # fmt: skip
        assert part in story, part
    for command, answer in shown:
        assert http_doc.comparable(http_doc.run(command, url)) == http_doc.comparable(answer)


def test_an_example_that_answers_otherwise_is_noticed():
    _, shown = next(http_doc.examples(http_doc.PAGE.read_text()))
    for was, is_now in (
        ('"verified": true', '"verified": false'), ('"cached_tokens": 36', '"cached_tokens": 0'),
        ('"message"', '"massage"'), ('"size_mb": 0.443', '"size_mb": "0.443"'),
    ):  # fmt: skip
        assert was in shown
        other = shown.replace(was, is_now)
        assert http_doc.comparable(other) != http_doc.comparable(shown)
    assert http_doc.comparable(shown.replace("36", "37")) == http_doc.comparable(shown)


def test_every_metric_of_the_dashboard_is_there(assistant):
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    wanted = set()
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            wanted |= set(re.findall(r"rkllmd_\w+", target["expr"]))
    assert len(wanted) >= 15
    text = assistant.http.get("/metrics").body.decode()
    families = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    known = families | {f"{name}_{end}" for name in families for end in ("bucket", "count", "sum")}
    assert wanted <= known, wanted - known
