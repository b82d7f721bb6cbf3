"""Two hundred edits to models and prompts while requests run: none fails, nothing is left over.

The daemon goes on through all of the machine's runs; each one first puts the files back, as
hypothesis wants the same steps to be possible again. The model that clients ask for is only changed
as a whole, by a rename or a turned link: one that is written in place is broken while it is.
"""

import os
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.daemon.household import SYSTEM, Household

EDITS = 200
RUNS, STEPS = 20, 14
SETTINGS = ["models.preload=all", "models.loaded_max=9"]
IS_SEARCH = "RKLLMD_EXAMPLES" in os.environ
"""By hand the story is another one each time; in the suite it is always the same."""

prompt_names = st.sampled_from(["system", "one", "two"])
GUESTS = ["guest", "visitor"]
guests = st.sampled_from(GUESTS)
numbers = st.integers(0, 9)


def text_of(number):
    return f"Edition {number}. {SYSTEM[: 40 * number + 80]}"


def exchange(path, make):
    """Let something take the place of a file or a link in one step."""
    staged = path.with_name(f".{path.name}.new")
    make(staged)
    staged.replace(path)


def remove(path):
    """Remove a folder, or the link to one."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


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


class Edits(RuleBasedStateMachine):
    """What people, programs and Kubernetes do to the folders."""

    home: Household
    asking: Asking
    files: tuple[Path, Path]
    edits = 0

    def __init__(self):
        super().__init__()
        self.prompts, self.models = self.home.prompts, self.home.models
        self.model = self.models / "parrot" / "model.gguf"
        self.copying = None
        self.put_back()

    def put_back(self):
        for name in (*GUESTS, "slow"):
            if self.is_there(name):
                remove(self.models / name)
        shutil.rmtree(self.prompts / "prompts")
        (self.prompts / "prompts").mkdir()
        shutil.rmtree(self.prompts / "models", ignore_errors=True)
        exchange(self.prompt("system"), lambda staged: staged.write_text(SYSTEM))
        self.exchange_model(0)

    def exchange_model(self, number):
        exchange(self.model, lambda staged: shutil.copyfile(self.files[number], staged))

    def prompt(self, name):
        return self.prompts / ("system.txt" if name == "system" else f"prompts/{name}.txt")

    def is_there(self, name):
        return os.path.lexists(self.models / name)

    def edited(self):
        type(self).edits += 1

    @rule(name=prompt_names, number=numbers)
    def write_in_place(self, name, number):
        self.prompt(name).write_text(text_of(number))
        self.edited()

    @rule(name=prompt_names, number=numbers)
    def write_and_rename(self, name, number):
        exchange(self.prompt(name), lambda staged: staged.write_text(text_of(number)))
        self.edited()

    @rule(name=prompt_names)
    def touch_a_prompt(self, name):
        self.prompt(name).touch()  # which makes an empty one where there is none
        self.edited()

    @rule(name=prompt_names)
    def delete_a_prompt(self, name):
        if name != "system":
            self.prompt(name).unlink(missing_ok=True)
            self.edited()

    @precondition(lambda self: self.prompt("one").exists())
    @rule()
    def rename_a_prompt(self):
        self.prompt("one").rename(self.prompt("two"))
        self.edited()

    @rule(name=prompt_names, number=numbers)
    def write_a_models_own_prompt(self, name, number):
        own = self.prompts / "models" / "parrot" / f"{name}.txt"
        own.parent.mkdir(parents=True, exist_ok=True)
        if number % 2:
            own.write_text(text_of(number))
        else:
            own.unlink(missing_ok=True)
        self.edited()

    @precondition(lambda self: list(self.prompt("one").parent.iterdir()))
    @rule()
    def delete_and_make_the_folder_of_prompts(self):
        shutil.rmtree(self.prompts / "prompts")
        (self.prompts / "prompts").mkdir()
        self.edited()

    @rule(number=numbers)
    def turn_the_link_of_a_mounted_prompt(self, number):
        """FILE -> ..data/FILE, ..data -> ..VERSION, and `..data` is renamed over."""
        version = self.prompts / f"..v{number}"
        version.mkdir(exist_ok=True)
        (version / "system.txt").write_text(text_of(number))
        exchange(self.prompts / "..data", lambda staged: staged.symlink_to(version.name))
        exchange(
            self.prompt("system"), lambda staged: staged.symlink_to(Path("..data", "system.txt"))
        )
        self.edited()

    @rule(number=st.integers(0, 1))
    def exchange_the_model(self, number):
        self.exchange_model(number)
        self.edited()

    @rule(number=st.integers(0, 1))
    def turn_the_link_of_the_model(self, number):
        exchange(self.model, lambda staged: staged.symlink_to(self.files[number]))
        self.edited()

    @precondition(lambda self: not self.model.is_symlink())
    @rule()
    def touch_the_model(self):
        self.model.touch()
        self.edited()

    @rule(name=guests, number=st.integers(0, 1))
    def add_a_model(self, name, number):
        if not self.is_there(name):
            self.home.add_model(name, self.files[number])
            self.edited()

    @rule(name=guests, number=st.integers(0, 1))
    def link_a_models_folder(self, name, number):
        if not self.is_there(name) or (self.models / name).is_symlink():
            target = self.home.folder / f"elsewhere-{number}"
            target.mkdir(exist_ok=True)
            shutil.copyfile(self.files[number], target / "model.gguf")
            exchange(self.models / name, lambda staged: staged.symlink_to(target))
            self.edited()

    @precondition(lambda self: any(map(self.is_there, GUESTS)))
    @rule(name=guests)
    def delete_a_model(self, name):
        if self.is_there(name):
            remove(self.models / name)
            self.edited()

    @precondition(lambda self: sum(map(self.is_there, GUESTS)) == 1)
    @rule()
    def rename_a_model(self):
        old, new = sorted(GUESTS, key=self.is_there, reverse=True)
        (self.models / old).rename(self.models / new)
        self.edited()

    @precondition(lambda self: self.copying is None)
    @rule(number=st.integers(0, 1))
    def begin_to_copy_a_model(self, number):
        target = self.models / "slow" / "model.gguf"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"")
        self.copying = target, self.files[number].read_bytes()
        self.edited()

    @precondition(lambda self: self.copying is not None)
    @rule(part=st.integers(1, 3))
    def go_on_copying(self, part):
        target, data = self.copying
        done = target.stat().st_size
        with target.open("ab") as file:
            file.write(data[done : done + part * len(data) // 4 + 1])
        if target.stat().st_size == len(data):
            self.copying = None
        self.edited()

    @rule(name=prompt_names)
    def request(self, name):
        answer = self.home.greedy("and you?", model="parrot", use_cache=name, max_tokens=3)
        assert answer["reason"] in {"length", "stop"}

    @invariant()
    def no_request_has_failed(self):
        assert self.asking.problems == []

    def teardown(self):
        if self.copying is not None:
            target, data = self.copying
            target.write_bytes(data)


def story():
    """All runs of the machine."""
    run_state_machine_as_test(
        Edits,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            phases=[Phase.generate],  # files that were edited cannot be edited again
            derandomize=not IS_SEARCH,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def caches_of(home):
    """Everything that the caches of a daemon are, but for when and how fast they were made."""
    entries = home.ask("cache.show")["caches"]
    kept = ("state", "reason", "source", "content", "fingerprint", "tokens", "failure")
    said = {(one["model"], one["name"]): [one.get(part) for part in kept] for one in entries}
    files = {str(path.relative_to(home.cache)) for path in home.cache.rglob("*") if path.is_file()}
    return said, files - {".usage.json", ".findings.json"}


@pytest.fixture
def edited(household, parrot, other_parrot):
    """A daemon that serves while its files are edited."""
    household.settings += SETTINGS
    household.start()
    Edits.home, Edits.files, Edits.edits = household, (parrot, other_parrot), 0
    Edits.asking = Asking(household)
    Edits.asking.start()
    try:
        while Edits.edits < EDITS:
            story()
    finally:
        Edits.asking.enough.set()
        Edits.asking.join()
    return household


def test_edits_fail_no_request_and_end_as_a_fresh_start(edited, tmp_path_factory, parrot):
    assert Edits.asking.problems == []
    assert Edits.asking.answers
    fresh = Household(tmp_path_factory.mktemp("fresh"), parrot)
    try:
        for mine, theirs in ((fresh.models, edited.models), (fresh.prompts, edited.prompts)):
            shutil.rmtree(mine)
            shutil.copytree(theirs, mine)
        fresh.settings += SETTINGS
        fresh.start()
        wanted = caches_of(fresh)
    finally:
        fresh.close()
    assert wanted[0]
    edited.until(lambda: caches_of(edited) == wanted, f"the caches {sorted(wanted[0])}")
