"""What is a model, what is a warning and what is broken, on real folders."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from rkllmd.ids import NAME_RULE, ModelName
from rkllmd.registry import identity
from rkllmd.registry.identity import Identities
from rkllmd.registry.models import TINY_BYTES_MAX, ModelEntry, Registry, scan
from tests.registry.conftest import without_rights


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def model(folder: Path, file: str = "model.gguf", settings: str | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / file).write_bytes(b"weights")
    if settings is not None:
        (folder / "model.yaml").write_text(settings)
    return folder


def look(*folders: Path) -> Registry:
    return scan(folders, Identities())


def only(folder: Path) -> ModelEntry:
    (entry,) = look(folder).models.values()
    return entry


def broken(folder: Path) -> str:
    reason = only(folder).broken
    assert reason is not None
    return reason.replace(str(folder), "M")


def test_a_large_gguf_is_for_llama_unless_tiny_is_asked_for(models: Path) -> None:
    folder = model(models / "m")
    os.truncate(folder / "model.gguf", TINY_BYTES_MAX)
    assert only(models).engine == "tiny"
    os.truncate(folder / "model.gguf", TINY_BYTES_MAX + 1)
    assert only(models).engine == "llama"
    model(models / "m", "other", settings="engine: tiny\n")
    assert only(models).engine == "tiny"


def test_models_are_sorted_and_know_their_engine(models: Path) -> None:
    model(models / "b", "x.rkllm", "context: 4096\nlanguages: [de, no]\n")
    model(models / "a")
    model(models / "c", settings="engine: llama\n")
    found = look(models)
    assert [(e.name, e.engine, e.broken) for e in found.models.values()] == [
        ("a", "tiny", None),
        ("b", "rkllm", None),
        ("c", "llama", None),
    ]
    entry = found.entries[1]
    assert found.get(entry.name) is entry
    assert found.get(ModelName("d")) is None
    assert entry.settings.context == 4096
    assert entry.settings.languages == ("de", "no")
    assert (entry.file, entry.size_bytes) == (models / "b" / "x.rkllm", 7)
    assert entry.identity.digest
    assert entry.warnings == found.warnings == ()


def test_of_several_model_files_the_first_is_taken_and_named(models: Path) -> None:
    model(models / "m", "b.gguf")
    model(models / "m", "a.rkllm")
    model(models / "m", ".hidden.gguf")
    entry = only(models)
    assert entry.file.name == "a.rkllm"
    assert entry.warnings == (f"{models}/m: 2 model files, a.rkllm is taken",)


def test_what_looks_like_a_model_and_is_none_gets_a_warning(models: Path) -> None:
    (models / "empty").mkdir()
    model(models / "no names like this")
    model(models / ("x" * 65))
    model(models / ".hidden")
    (models / "README.md").write_text("how to add one")
    (models / "loose.gguf").write_bytes(b"weights")
    (models / "dangling").symlink_to("nowhere")
    (models / "loop").symlink_to("loop")
    odd = os.fsdecode(b"\xff\nx")
    model(models / odd)
    found = look(models, models / "none")
    assert not found.models
    assert [warning.replace(str(models), "M") for warning in found.warnings] == [
        "M: 'dangling' is not used: No such file or directory",
        "M/empty: no *.rkllm or *.gguf in it",
        "M: 'loop' is not used: Too many levels of symbolic links",
        "M: 'loose.gguf' is not used, a model file needs a folder of its own",
        *[
            f"M: {name!r} is not used, a model's name has {NAME_RULE}"
            for name in ["no names like this", "x" * 65, odd]
        ],
        "M/none: cannot be read: No such file or directory",
    ]
    assert all(warning.isprintable() for warning in found.warnings)


def test_files_that_are_none_are_passed_over(models: Path) -> None:
    folder = model(models / "m", "z.gguf")
    (folder / "a.gguf").symlink_to("nowhere")
    (folder / "b.gguf").mkdir()
    os.mkfifo(folder / "c.rkllm")
    entry = only(models)
    assert entry.file.name == "z.gguf"
    assert [warning.split(": ")[1] for warning in entry.warnings] == [
        "'a.gguf' is not used",
        "'b.gguf' is not used",
        "'c.rkllm' is not used",
    ]
    (folder / "z.gguf").unlink()
    found = look(models)
    assert not found.models
    assert len(found.warnings) == 3


def test_a_folder_may_be_a_symlink_and_so_may_its_files(models: Path, tmp_path: Path) -> None:
    model(tmp_path / "versions")
    (models / "m").symlink_to(tmp_path / "versions")
    (models / "n").mkdir()
    (models / "n" / "x.gguf").symlink_to(tmp_path / "versions" / "model.gguf")
    found = look(models)
    assert list(found.models) == ["m", "n"]
    assert len({entry.identity for entry in found.models.values()}) == 1
    assert [entry.folder for entry in found.models.values()] == [models / "m", models / "n"]


def test_of_two_folders_the_earlier_one_counts(models: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    model(models / "m")
    model(other / "m")
    model(other / "n")
    found = look(models, other)
    assert {name: entry.folder for name, entry in found.models.items()} == {
        "m": models / "m",
        "n": other / "n",
    }
    assert found.warnings == (f"{other}/m: not used, {models}/m has the same name",)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("contxt: 5", "M/m/model.yaml:1:1: contxt: found an unknown name"),
        ("a: 1\na: 2", "M/m/model.yaml:2:1: a: found again, allowed: once"),
        ("context: [", "M/m/model.yaml:1:11: "),
        ("x\0", "M/m/model.yaml:1: found the character U+0000"),
        ("engine: rkllm", "M/m/model.yaml:1:1: engine: found 'rkllm', allowed: tiny, llama (for"),
        ("engine: onnx", "M/m/model.yaml:1:1: engine: found 'onnx' (text), allowed: "),
        ("lora: [{file: ../a}]", "M/m/model.yaml:1:9: lora[0].file: found '../a', allowed"),
        ("lora: [{file: a}]", "M/m/model.yaml:1:9: lora[0].file: M/m/a: cannot be read"),
        ("lora: [{file: .}]", "M/m/model.yaml:1:9: lora[0].file: M/m: cannot be read"),
        (f"lora: [{{file: {'ä' * 255}}}]", "M/m/model.yaml:1:9: lora[0].file: M/m/ää"),
    ],
)
def test_a_bad_model_yaml_breaks_that_model_only(models: Path, settings: str, reason: str) -> None:
    model(models / "m", settings=settings)
    assert broken(models).startswith(reason)
    model(models / "other")
    assert [entry.broken is None for entry in look(models).models.values()] == [False, True]


def test_a_model_yaml_that_is_no_file_breaks_the_model(models: Path) -> None:
    folder = model(models / "m")
    os.mkfifo(folder / "model.yaml")
    assert broken(models) == "M/m/model.yaml: cannot be read: it is no regular file"
    (folder / "model.yaml").unlink()
    (folder / "model.yaml").symlink_to("nowhere")
    assert broken(models) == "M/m/model.yaml: cannot be read: No such file or directory"


def test_an_empty_model_file_breaks_the_model(models: Path) -> None:
    model(models / "m")
    (models / "m" / "model.gguf").write_bytes(b"")
    assert broken(models) == "M/m/model.gguf: is empty"


def test_an_adapter_is_identified_and_never_taken_for_the_model(models: Path) -> None:
    folder = model(models / "m", settings="lora: [{file: a.gguf, scale: 0.5}]")
    (folder / "a.gguf").write_bytes(b"adapter")
    entry = only(models)
    assert entry.file.name == "model.gguf"
    assert entry.warnings == ()
    assert entry.adapters == (Identities().of(folder / "a.gguf"),)


def test_no_right_to_read_is_a_warning_or_breaks_the_model(open_folder: Path) -> None:
    models = open_folder / "models"
    models.mkdir(mode=0o755)
    model(models / "closed").chmod(0o000)
    model(models / "file")
    (models / "file" / "model.gguf").chmod(0o000)
    model(models / "yaml", settings="context: 64")
    (models / "yaml" / "model.yaml").chmod(0o000)
    with without_rights():
        found = look(models)
    (models / "closed").chmod(0o700)
    assert found.warnings == (f"{models}/closed: cannot be read: Permission denied",)
    assert [entry.broken for entry in found.models.values()] == [
        f"{models}/file/model.gguf: cannot be read: Permission denied",
        f"{models}/yaml/model.yaml: cannot be read: Permission denied",
    ]


def test_what_lies_in_a_closed_folder_may_be_a_model(open_folder: Path) -> None:
    models, home = open_folder / "models", open_folder / "home"
    models.mkdir(mode=0o755)
    model(models / "seen")
    home.mkdir()
    model(home / "qwen")
    (models / "qwen").symlink_to(home / "qwen")
    home.chmod(0o000)
    with without_rights():
        linked, inside = look(models), look(home / "qwen")
    home.chmod(0o700)
    assert (list(linked.models), linked.complete) == (["seen"], False)
    assert linked.warnings == (f"{models}: 'qwen' is not used: Permission denied",)
    assert (list(inside.models), inside.complete) == ([], False)
    assert look(models).complete


def test_a_disks_own_closed_folder_is_no_model(open_folder: Path) -> None:
    (open_folder / "lost+found").mkdir(mode=0o700)
    with without_rights():
        assert look(open_folder).complete


def test_a_scan_again_hashes_only_what_changed(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        model(models / name)
    identities = Identities()
    before = scan([models], identities)
    hashed = []
    honest = identity.sampled_hash
    monkeypatch.setattr(
        identity, "sampled_hash", lambda *args: hashed.append(args) or honest(*args)
    )
    assert scan([models], identities) == before
    assert not hashed
    (models / "b" / "model.gguf").write_bytes(b"other")
    after = scan([models], identities)
    assert len(hashed) == 1
    assert after.models.keys() == before.models.keys()
    assert after != before


def test_whatever_happens_meanwhile_a_scan_ends(models: Path) -> None:
    """Folders come, go and change their kind while scans run."""
    done = threading.Event()

    def churn() -> None:
        while not done.is_set():
            for name in "abcd":
                model(models / name, settings="context: 64")
                (models / name).rename(models / f"{name}{name}")
            for name in "abcd":
                shutil.rmtree(models / f"{name}{name}")
            (models / "a").symlink_to("nowhere")
            (models / "a").unlink()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        identities = Identities()
        for _ in range(200):
            found = scan([models], identities)
            assert all(entry.name in found.models for entry in found.models.values())
    finally:
        done.set()
        thread.join()
