"""Two hundred edits to models and prompts while requests run: none fails, nothing is left over."""

import os
import shutil
import threading
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.daemon.household import SYSTEM, Household

EDITS = 200
NAMES = ["system", "one", "two"]

edits = st.one_of(
    st.tuples(st.sampled_from(["write", "exchange"]), st.sampled_from(NAMES), st.integers(0, 9)),
    st.tuples(st.sampled_from(["touch", "remove"]), st.sampled_from(NAMES[1:]), st.just(0)),
    st.tuples(st.just("own"), st.sampled_from(NAMES), st.integers(0, 9)),
    st.tuples(st.sampled_from(["add", "drop", "rename"]), st.just("guest"), st.just(0)),
    st.tuples(st.just("replace"), st.just("parrot"), st.integers(0, 1)),
)


def edit(home, files, kind, name, number):
    text = f"Edition {number}. {SYSTEM[: 40 * number + 80]}"
    path = home.prompts / ("system.txt" if name == "system" else f"prompts/{name}.txt")
    guest, other = home.models / "guest", home.models / "visitor"
    match kind:
        case "write":
            path.write_text(text)
        case "exchange":
            exchange(path, text.encode())
        case "touch" if path.exists():
            os.utime(path)
        case "remove":
            path.unlink(missing_ok=True)
        case "own":
            own = home.prompts / "models" / "parrot" / f"{name}.txt"
            own.parent.mkdir(parents=True, exist_ok=True)
            own.write_text(text) if number % 2 else own.unlink(missing_ok=True)
        case "add" if not guest.exists():
            home.add_model("guest", files[1])
        case "drop":
            shutil.rmtree(guest, ignore_errors=True)
        case "rename" if guest.exists() and not other.exists():
            guest.rename(other)
        case "rename" if other.exists() and not guest.exists():
            other.rename(guest)
        case "replace":
            exchange(home.models / "parrot" / "model.gguf", files[number].read_bytes())


def exchange(path: Path, data: bytes):
    staged = path.with_name(f".{path.name}.new")
    staged.write_bytes(data)
    staged.replace(path)


class Asking(threading.Thread):
    """A client that asks all the time."""

    def __init__(self, home):
        super().__init__()
        self.home, self.problems, self.answers = home, [], 0
        self.enough = threading.Event()

    def run(self):
        while not self.enough.is_set():
            try:
                self.home.greedy("hello", model="parrot", max_tokens=3)
                self.answers += 1
            except Exception as problem:
                self.problems.append(repr(problem))


def fingerprints(home):
    found = home.ask("cache.show")["caches"]
    return {(e["model"], e["name"]): (e["state"], e.get("fingerprint")) for e in found}


@settings(
    max_examples=1,
    phases=[Phase.generate],
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(edits, min_size=EDITS, max_size=EDITS))
def test_edits_fail_no_request_and_end_as_a_fresh_start(
    household, tmp_path_factory, parrot, other_parrot, story
):
    household.settings.append("models.preload=all")
    household.start()
    asking = Asking(household)
    asking.start()
    try:
        for kind, name, number in story:
            edit(household, (parrot, other_parrot), kind, name, number)
            household.ask("ping")
    finally:
        asking.enough.set()
        asking.join()
    assert asking.problems == []
    assert asking.answers
    fresh = Household(tmp_path_factory.mktemp("fresh"), parrot)
    try:
        for mine, theirs in ((fresh.models, household.models), (fresh.prompts, household.prompts)):
            shutil.rmtree(mine)
            shutil.copytree(theirs, mine)
        fresh.settings.append("models.preload=all")
        fresh.start()
        wanted = fingerprints(fresh)
    finally:
        fresh.close()
    assert wanted
    household.until(lambda: fingerprints(household) == wanted, f"the caches {sorted(wanted)}")
