"""What a model cannot do is remembered with its fingerprint, and a damaged memory is none."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.promptcache.findings import FINDINGS_MAX, Findings
from rkllmd.promptcache.fingerprint import Ingredients, digest_text
from rkllmd.promptcache.store import Store
from tests.promptcache.samples import INGREDIENTS
from tests.promptcache.test_fingerprint import CHANGES

REASON = "The runtime cannot save this model's state."
FILE = ".findings.json"


def test_a_finding_outlives_its_store(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.findings.note_saving(INGREDIENTS, REASON)
        store.findings.note_limit(INGREDIENTS, 4096)
        store.save_notes()
        written = (tmp_path / FILE).stat()
        store.findings.note_limit(INGREDIENTS, None)
        store.findings.note_saving(INGREDIENTS, REASON)
        store.save_notes()
        assert (tmp_path / FILE).stat().st_ino == written.st_ino, "nothing was new"
    with Store(tmp_path) as store:
        found = store.findings.of(INGREDIENTS)
        assert (found.cannot_save, found.context_limit) == (REASON, 4096)
        store.findings.note_saving(INGREDIENTS, "")
    with Store(tmp_path) as store:
        assert store.findings.of(INGREDIENTS).cannot_save == ""


@pytest.mark.parametrize("name", CHANGES)
def test_another_fingerprint_knows_nothing(name: str) -> None:
    findings = Findings()
    findings.note_saving(INGREDIENTS, REASON)
    value, _, same_model = CHANGES[name]
    changed = replace(INGREDIENTS, **{name: value})
    assert bool(findings.of(changed).cannot_save) is same_model, "prompts do not count"


def test_a_file_is_known_by_what_was_found_last() -> None:
    findings = Findings()
    findings.note_saving(INGREDIENTS, REASON)
    assert findings.of_file(digest_text("other")) is None
    findings.note_limit(replace(INGREDIENTS, engine_version="2"), 1024)
    found = findings.of_file(INGREDIENTS.model_sha256)
    assert found is not None
    assert (found.cannot_save, found.context_limit) == ("", 1024)
    findings.note_limit(INGREDIENTS, 512)
    found = findings.of_file(INGREDIENTS.model_sha256)
    assert found is not None
    assert (found.cannot_save, found.context_limit) == (REASON, 512)


def test_the_oldest_are_forgotten() -> None:
    findings = Findings()
    models = [version(str(number)) for number in range(FINDINGS_MAX + 2)]
    for model in models:
        findings.note_saving(model, REASON)
    known = [model for model in models if findings.of(model).cannot_save]
    assert known == models[2:]


def version(name: str) -> Ingredients:
    return replace(INGREDIENTS, engine_version=name)


DAMAGED = [b"", b"[]", b"{}", b'{"findings": 3}', b'{"findings": [3]}', b'{"findings": [{}]}',
           b'{"findings": [{"fingerprint": "x"}]}', b"\xff", b"[" * 99999]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_file_is_none(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE).write_bytes(damage)
    with Store(tmp_path) as store:
        assert store.findings.of(INGREDIENTS).cannot_save == ""
        store.findings.note_saving(INGREDIENTS, REASON)
    with Store(tmp_path) as store:
        assert store.findings.of(INGREDIENTS).cannot_save == REASON


@given(st.integers(0, 400), st.binary(max_size=3))
def test_what_was_torn_or_changed_does_no_harm(at: int, put: bytes) -> None:
    findings = Findings()
    findings.note_saving(INGREDIENTS, REASON)
    data = findings.render()
    torn = Findings()
    torn.read(data[:at] + put)
    torn.read(data[:at] + put + data[at + len(put) :])
    torn.render()
