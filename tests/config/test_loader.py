"""Where values come from, what is refused and how it is said, and where paths lead."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.config.document import ConfigError
from rkllmd.config.listing import as_yaml, render
from rkllmd.config.loader import compare, leaves, load
from rkllmd.config.settings import Config, Queue, Socket
from rkllmd.shape import dotted


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "rkllmd.yaml"


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def problems(file: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(write(file, text), overrides)
    return [problem.replace(str(file), "FILE") for problem in caught.value.problems]


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "queue:\n", "null\n", "\ufeff"])
def test_an_empty_file_is_all_defaults(file: Path, text: str) -> None:
    loaded = load(write(file, text))
    assert loaded.config.queue == Queue()
    assert set(loaded.sources.values()) == {"default"}


def test_the_file_beats_the_default_and_an_override_beats_the_file(file: Path) -> None:
    write(file, "queue:\n  length_max: 7\n  wait_s: 5\n")
    loaded = load(file, ["queue.length_max=9", "models.preload=[a, b]", "queue.length_max = 8"])
    assert loaded.config.queue == Queue(length_max=8, wait_s=5.0)
    assert loaded.config.models.preload == ("a", "b")
    assert loaded.sources["queue.length_max"] == "--set queue.length_max"
    assert loaded.sources["queue.wait_s"] == f"{file}:3:3"
    assert loaded.sources["queue.run_s"] == "default"
    assert loaded.sources["models.preload"] == "--set models.preload"


def test_an_override_of_a_section_leaves_its_other_keys(file: Path) -> None:
    write(file, "queue: {wait_s: 5}")
    loaded = load(file, ["queue={length_max: 3}"])
    assert loaded.config.queue == Queue(length_max=3, wait_s=5.0)
    assert loaded.sources["queue.length_max"] == "--set queue"
    assert loaded.sources["queue.wait_s"] == f"{file}:1:9"


def test_every_problem_is_told_with_place_found_allowed_and_the_nearest(file: Path) -> None:
    text = "queue:\n  lenght_max: 5\n  wait_s: soon\nlog:\n  level: inf\n  content: yes\nx: 1\n"
    assert "\n".join(sorted(problems(file, text))) == (
        "FILE:2:3: queue.lenght_max: found an unknown name, "
        "allowed: length_max, run_s, wait_s (did you mean 'length_max'?)\n"
        "FILE:3:3: queue.wait_s: found 'soon' (text), allowed: a number from 1 to 86400\n"
        "FILE:5:3: log.level: found 'inf' (text), "
        "allowed: 'debug', 'info', 'warning', 'error' (did you mean 'info'?)\n"
        "FILE:6:3: log.content: found 'yes' (text), allowed: true or false\n"
        "FILE:7:1: x: found an unknown name, allowed: cache, cancel, engine, http, log, models, "
        "paths, queue, sampling, sessions, shutdown, socket, wyoming"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("queue: {length_max: 0}", "FILE:1:9: queue.length_max: found 0, allowed: an integer"),
        ("queue: {length_max: 1.5}", "FILE:1:9: queue.length_max: found 1.5, allowed"),
        ("queue: {length_max: true}", "FILE:1:9: queue.length_max: found true, allowed"),
        ("queue: {length_max:}", "FILE:1:9: queue.length_max: found null, allowed"),
        ("queue: {wait_s: .inf}", "FILE:1:9: queue.wait_s: found '.inf' (text), allowed"),
        ("queue: {wait_s: 1.0e999}", "FILE:1:9: queue.wait_s: found inf, allowed"),
        ("queue: 5", "FILE:1:1: queue: found 5, allowed: an object"),
        ("[1, 2]", "FILE:1:1: the whole: found a list of 2, allowed: an object"),
        ("models: {preload: [a, 5]}", "FILE:1:23: models.preload[1]: found 5, allowed: a text"),
        ("socket: {path: ''}", "FILE:1:10: socket.path: found '' (text), allowed: a text"),
    ],
)
def test_wrong_values_stop_the_start(file: Path, text: str, problem: str) -> None:
    (found,) = problems(file, text)
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("queue", "--set: found 'queue', allowed: key.path=value"),
        ("=5", "--set: found '=5', allowed: key.path=value"),
        ("queue..x=5", "--set: found 'queue..x=5', allowed: key.path=value"),
        ("queue.lenght_max=5", "--set queue.lenght_max: queue.lenght_max: found an unknown name"),
        ("queues.length_max=5", "--set queues.length_max: queues: found an unknown name"),
        ("queue.length_max.x=5", "--set queue.length_max.x: queue.length_max: found an object"),
        ("queue.length_max=no", "--set queue.length_max: queue.length_max: found 'no' (text)"),
        ("queue.length_max=[", "--set queue.length_max:1:2: "),
        ("queue.length_max=&a 5", "--set queue.length_max:1:1: found an anchor or alias"),
        ("queue.length_max=", "--set queue.length_max: queue.length_max: found null"),
    ],
)
def test_wrong_overrides_stop_the_start(file: Path, override: str, problem: str) -> None:
    (found,) = problems(file, "", override)
    assert found.startswith(problem)


def test_a_wrong_file_is_told_even_where_an_override_would_hide_it(file: Path) -> None:
    (found,) = problems(file, "queue: {length_max: x}", "queue.length_max=5")
    assert found.startswith("FILE:1:9: queue.length_max")


@pytest.mark.parametrize(
    ("written", "bits"),
    [("0660", 0o660), ('"0600"', 0o600), ("0o640", 0o640), ("'0000'", 0)],
)
def test_the_socket_mode_is_octal_however_it_is_written(
    file: Path, written: str, bits: int
) -> None:
    assert load(write(file, f"socket: {{mode: {written}}}")).config.socket.mode_bits == bits
    assert load(None, [f"socket.mode={written}"]).config.socket.mode_bits == bits
    assert Socket().mode_bits == 0o660


@pytest.mark.parametrize("written", ["660", "440", "432", "0x1b0", "0888", "07777", "rw-rw----"])
def test_a_socket_mode_that_could_be_misread_is_refused(file: Path, written: str) -> None:
    (found,) = problems(file, f"socket: {{mode: {written}}}")
    assert "octal digits as chmod takes them, as 0660" in found


def test_paths_are_relative_to_the_file_and_the_socket_to_the_runtime_folder(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = file.parent.parent
    write(file, "paths:\n  models: [../models, /srv/models, more/]\nengine:\n  library: lib.so\n")
    for named in [file, Path("etc/rkllmd.yaml"), Path("./etc/../etc/rkllmd.yaml")]:
        monkeypatch.chdir(root)
        config = load(named).config
        assert config.paths.models == (f"{root}/models", "/srv/models", f"{root}/etc/more")
        assert config.paths.cache == f"{root}/cache"
        assert config.paths.prompts == f"{root}/etc/config"
        assert config.socket.path == f"{root}/run/rkllmd.sock"
        assert config.engine.library == f"{root}/etc/lib.so"


def test_without_a_file_paths_are_relative_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load(None, ["paths.cache=here", "socket.path=/tmp/a.sock"])
    assert loaded.file is None
    assert loaded.config.paths.cache == f"{tmp_path}/here"
    assert loaded.config.socket.path == "/tmp/a.sock"
    assert loaded.config.engine.library == ""


def test_a_missing_file_and_a_folder_are_told_by_name(tmp_path: Path) -> None:
    for path, reason in [
        (tmp_path / "no.yaml", "No such file or directory"),
        (tmp_path, "it is no regular file"),
    ]:
        with pytest.raises(ConfigError, match=f"{path}: cannot be read: {reason}"):
            load(path)


def test_the_listing_reads_back_to_the_same_settings(file: Path) -> None:
    write(
        file, "queue: {wait_s: 1.5}\nmodels: {preload: ['no', '1', 'ä: #']}\nsocket: {mode: 0600}"
    )
    loaded = load(file)
    text = render(loaded)
    again = load(write(file.with_name("again.yaml"), text))
    assert again.config == loaded.config
    assert f"wait_s: 1.5  # {file}:1:9" in " ".join(text.split()).replace(" #", "  #")


words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)


@given(words.filter(lambda text: "\ufeff" not in text and "\ufffe" not in text))
def test_any_text_survives_being_listed(text: str) -> None:
    try:
        loaded = load(None, [f"models.default={as_yaml(text)}"])
    except ConfigError as error:
        assert "found the character" in str(error)
    else:
        assert loaded.config.models.default == text


def test_a_reload_applies_what_it_can_and_names_what_waits() -> None:
    old = Config()
    new = dataclasses.replace(
        old,
        queue=Queue(length_max=1, run_s=2),
        socket=Socket(mode="0600"),
        paths=dataclasses.replace(old.paths, models=("elsewhere",)),
    )
    changes = compare(old, new)
    assert changes.applied == ("queue.length_max", "queue.run_s")
    assert changes.needs_restart == ("paths.models", "socket.mode")
    assert changes.config == dataclasses.replace(old, queue=new.queue)
    assert compare(changes.config, new).needs_restart == changes.needs_restart
    assert compare(new, new).applied == compare(new, new).needs_restart == ()


def test_every_setting_has_a_source() -> None:
    loaded = load(None)
    assert set(loaded.sources) == {dotted(place) for place, _ in leaves(loaded.config)}
