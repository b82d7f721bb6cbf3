"""What the README shows a newcomer first."""

import re

from tests.daemon.household import ROOT, Household

MODEL = ROOT / "models" / "tiny-assistant" / "tiny-assistant.gguf"
PROMPT = ROOT / "etc" / "config" / "system.txt"


def test_editing_the_system_prompt_changes_the_name(tmp_path):
    home = Household(tmp_path, MODEL)
    try:
        text = PROMPT.read_text()
        home.write_prompt("system", text)
        home.start()
        first = home.greedy("What is your name?", max_tokens=40)
        assert "Nova" in first["text"]
        assert first["usage"]["cache_hit"] is True
        home.write_prompt("system", text.replace("Nova", "Juno"))
        home.until(lambda: "You are Juno" in home.ask("cache.show")["caches"][0]["content"])
        second = home.greedy("What is your name?", max_tokens=40)
        assert "Juno" in second["text"]
        assert second["usage"]["cache_hit"] is True, "the rebuilt cache was not used"
        assert second["text"] == home.greedy("What is your name?", use_cache=False)["text"]
    finally:
        home.close()


def test_the_picture_of_the_rooms_names_rooms_that_are_there():
    readme = (ROOT / "README.md").read_text()
    picture = readme.split("```\ncli/daemon")[1].split("```")[0]
    names = set(re.findall(r"(?m)^ +([a-z]+) ", picture)) - {"the"}
    rooms = {path.name for path in (ROOT / "rkllmd").iterdir() if path.is_dir()}
    modules = {path.stem for path in (ROOT / "rkllmd").glob("*.py")}
    assert {"transport", "operations", "worker"} <= names <= rooms | modules


def test_every_path_in_the_readme_is_there():
    readme = (ROOT / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", readme):
        assert (ROOT / link).exists(), link
