"""Images, sounds and logits on the simulated runtime of every layout."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rkllmd.engine.contract import Engine
from rkllmd.engine.rkllm.engine import LOGITS_PROMPT_BYTES_MAX, NOTHING
from rkllmd.errors import Code, RkllmdError
from rkllmd.native.handle import Handle
from rkllmd.runs import Ability, Media, Prompt
from tests.engine_rkllm.stories import (
    SENSES,
    SYSTEM,
    WIDTH,
    answer,
    look,
    never,
    no_progress,
    npy,
    opened,
    save,
    scene,
    turn,
)
from tests.fakes.rkllm.built import NEWEST, VERSIONS, built, make_model

SPELLED = f"{SENSES['image_start']}{SENSES['image_content'] * 5}{SENSES['image_end']}"
SEVERAL = VERSIONS[2:]
"""Releases that take more than one image."""


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def seeing(
    version: str, folder: Path, model: dict[str, Any] | None = None, **options: Any
) -> Engine:
    file = make_model(folder / "model.rkllm", **model or {})
    return opened(built(version), file, options={**SENSES, **options})


@pytest.fixture
def engine(version: str, tmp_path: Path) -> Iterator[Engine]:
    loaded = seeing(version, tmp_path)
    yield loaded
    loaded.close()


@pytest.fixture
def fresh(version: str, tmp_path: Path) -> Iterator[Engine]:
    """Another one of the same model, that has seen nothing."""
    loaded = seeing(version, tmp_path)
    yield loaded
    loaded.close()


def refusal(engine: Engine, *parts: Media | str) -> RkllmdError:
    with pytest.raises(RkllmdError) as caught:
        look(engine, *parts)
    return caught.value


def test_an_answer_depends_on_the_image(engine: Engine) -> None:
    said = {look(engine, scene(number), "what is this")[0] for number in range(4)}
    assert len(said) == 4
    assert look(engine, "what is this", scene(0)) != look(engine, scene(0), "what is this")
    assert engine.facts.capabilities.images.ability is Ability.YES


def test_cached_equals_uncached_whatever_was_held(
    engine: Engine, fresh: Engine, version: str, tmp_path: Path
) -> None:
    """What is held may even spell the tokens that the runtime puts there for an image."""
    expected, whole = look(fresh, scene(1), "what is this")
    saved = save(engine, tmp_path / "state")

    def check(cached: int) -> None:
        said, stats = look(engine, scene(1), "what is this")
        assert said == expected
        assert (stats.prompt_tokens, stats.cached_tokens) == (whole.prompt_tokens, cached)

    engine.load_state(tmp_path / "state")
    check(0)  # the first of all is behind the question how wide the model is
    engine.load_state(tmp_path / "state")
    check(saved.tokens)
    check(0)  # nothing with an image is held
    assert engine.held() == NOTHING
    answer(engine, SYSTEM, 0)
    check(0 if version == "1.1.4" else saved.tokens)
    answer(engine, turn(f"{SPELLED}what is this"))
    check(0)
    look(engine, scene(2), "what is this")
    check(0)
    plain = answer(engine, turn(f"{SPELLED}what is this"))[0]
    assert plain != expected
    fresh.reset()
    assert plain == answer(fresh, turn(f"{SPELLED}what is this"))[0]


@pytest.mark.parametrize("version", SEVERAL, indirect=True)
def test_several_images_have_an_order(engine: Engine) -> None:
    one, other = scene(1), scene(2)
    first = look(engine, one, "and", other)[0]
    assert look(engine, other, "and", one)[0] != first
    assert look(engine, one, "and", one)[0] != first
    assert look(engine, one, "and", other)[0] == first
    assert "one size" in refusal(engine, one, scene(2, rows=6)).message


@pytest.mark.parametrize("version", VERSIONS[:2], indirect=True)
def test_the_oldest_releases_take_one_image(engine: Engine) -> None:
    error = refusal(engine, scene(1), scene(2))
    assert error.code is Code.BAD_REQUEST
    assert "found 2 images, allowed: one" in error.message
    assert look(engine, scene(1))[0]


def test_sounds_are_heard_since_1_3_1(engine: Engine, version: str) -> None:
    sound = scene(1, rows=7, kind="audio")
    capability = engine.facts.capabilities.audio
    if version != "1.3.1":
        assert capability.ability is Ability.NO
        assert "1.3.1 does" in capability.reason
        return
    assert capability.ability is Ability.UNKNOWN
    heard = look(engine, sound, "what was that")[0]
    assert look(engine, scene(2, rows=7, kind="audio"), "what was that")[0] != heard
    both = look(engine, scene(1), "is that", sound)[0]
    assert look(engine, sound, "is that", scene(1))[0] != both
    assert look(engine, sound, "what was that")[0] == heard


def test_an_encoder_with_several_outputs_has_them_side_by_side(tmp_path: Path) -> None:
    engine = seeing(NEWEST, tmp_path, {"image_outputs": 4}, image_outputs=4)
    assert look(engine, scene(1, width=4 * WIDTH))[0]
    assert f"allowed: {4 * WIDTH}" in refusal(engine, scene(1)).message
    engine.close()


def plus(values: Any) -> Any:
    """An image's numbers, changed by what is done to them."""
    good = np.random.default_rng(1).normal(size=(5, WIDTH)).astype("<f4")
    return values(good)


def with_value(number: float) -> Any:
    def change(rows: Any) -> Any:
        rows[3, 7] = number
        return rows

    return change


GOOD = npy(plus(lambda rows: rows))
BAD = {
    "too wide": (npy(plus(lambda rows: np.hstack([rows, rows]))), "rows of 32 numbers"),
    "too narrow": (npy(plus(lambda rows: rows[:, 1:])), "rows of 15 numbers"),
    "flat": (npy(plus(np.ravel)), "the shape (80,)"),
    "two in one": (npy(plus(lambda rows: np.stack([rows, rows]))), "the shape (2, 5, 16)"),
    "no row": (npy(plus(lambda rows: rows[:0])), "the shape (0, 16)"),
    "a scalar": (npy(np.float32(1)), "the shape ()"),
    "NaN": (npy(plus(with_value(float("nan")))), "not finite"),
    "infinite": (npy(plus(with_value(float("-inf")))), "not finite"),
    "float64": (npy(plus(lambda rows: rows.astype("<f8"))), "of float64"),
    "float16": (npy(plus(lambda rows: rows.astype("<f2"))), "of float16"),
    "big-endian": (npy(plus(lambda rows: rows.astype(">f4"))), "of >f4"),
    "integers": (npy(plus(lambda rows: rows.astype("<i4"))), "of int32"),
    "records": (npy(np.zeros((5, 16), [("a", "<f4")])), "('a', '<f4')"),
    "objects": (npy(np.full((5, 16), None)), "of object"),
    "a pickle": (pickle.dumps([1.0]), "no .npy file"),
    "truncated": (GOOD[:-1], "319 bytes"),
    "no number": (GOOD[:128], "0 bytes"),
    "half a header": (GOOD[:60], "no .npy file"),
    "a byte too many": (GOOD + b"\0", "321 bytes"),
    "a great promise": (GOOD.replace(b"(5, 16), }", b"(99999999999, 16), }"), "330 bytes"),
    "version 9": (GOOD[:6] + b"\x09" + GOOD[7:], "no .npy file"),
    "nothing": (b"", "no .npy file"),
    "a program": (GOOD.replace(b"'<f4'", b"exit()"), "no .npy file"),
}


@pytest.mark.parametrize("version", [NEWEST], indirect=True)
@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_never_reaches_the_library(
    engine: Engine, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = look(engine, scene(1))[0]
    content, words = BAD[name]
    with monkeypatch.context() as patch:
        patch.setattr(Handle, "run", None)
        error = refusal(engine, Media.of_npy("image", content), "what is this")
    assert error.code is Code.BAD_REQUEST
    assert words in error.message
    assert "allowed: " in error.message
    assert look(engine, scene(1))[0] == expected


@pytest.mark.parametrize("version", ["1.2.3", NEWEST], indirect=True)
def test_columns_first_and_ones_before_are_the_same_image(engine: Engine) -> None:
    rows = plus(lambda rows: rows)
    same = [rows, np.asfortranarray(rows), rows[None], np.asfortranarray(rows[None, None])]
    said = {look(engine, Media.of_npy("image", npy(array)))[0] for array in same}
    assert len(said) == 1


@pytest.mark.parametrize("version", ["1.1.4", NEWEST], indirect=True)
@pytest.mark.parametrize(
    "text", ["<image>", "<audio>", "<video>", SENSES["image_content"], SENSES["audio_content"]]
)
def test_text_that_would_be_taken_for_an_image_is_refused(engine: Engine, text: str) -> None:
    error = refusal(engine, scene(1), f"the word {text}")
    assert error.code is Code.BAD_REQUEST
    assert f"found {text!r}" in error.message
    assert answer(engine, turn(f"the word {text}"))[0], "alone it is a text like any other"


@pytest.mark.parametrize("version", ["1.2.3", NEWEST], indirect=True)
def test_a_mark_stands_for_what_was_given(engine: Engine) -> None:
    one, other = scene(1), scene(2)
    assert "marks in the text" in refusal(engine, one, other.mark).message
    assert "NUL" in refusal(engine, one.mark).message
    assert look(engine, one)[0]


def test_too_many_rows_are_too_long_a_prompt(engine: Engine) -> None:
    for rows in (5000, 4090):
        assert refusal(engine, scene(1, rows=rows), "hello").code is Code.CONTEXT_OVERFLOW
    assert look(engine, scene(1))[0]


def test_a_state_with_an_image_is_not_saved(engine: Engine, tmp_path: Path) -> None:
    image = scene(1)
    prompt = Prompt.of_text(image.mark).with_media({image.mark: image})
    with pytest.raises(RkllmdError) as caught:
        engine.save_state(tmp_path / "state", prompt, never, no_progress)
    assert caught.value.code is Code.UNSUPPORTED
    assert not (tmp_path / "state").exists()


def test_without_tags_a_model_takes_neither(version: str, tmp_path: Path) -> None:
    engine = opened(built(version), make_model(tmp_path / "model.rkllm"))
    for name in ("images", "audio"):
        capability = getattr(engine.facts.capabilities, name)
        assert capability.ability is Ability.NO
        assert capability.reason
    engine.close()


def test_logits_are_of_the_vocabulary_and_the_prompt(engine: Engine, version: str) -> None:
    prompt = Prompt.of_text(turn("hello"))
    if version == "1.1.4":
        with pytest.raises(RkllmdError) as caught:
            engine.logits(prompt)
        assert caught.value.code is Code.UNSUPPORTED
        return
    said, stats = answer(engine, prompt.text)
    first = engine.logits(prompt)
    assert (len(first.values), first.tokens) == (151936, stats.prompt_tokens)
    assert engine.logits(Prompt.of_text(turn("is it raining"))) != first
    assert engine.logits(prompt) == first
    assert answer(engine, prompt.text)[0] == said


@pytest.mark.parametrize("version", [NEWEST], indirect=True)
def test_logits_of_a_long_prompt_are_refused(engine: Engine) -> None:
    with pytest.raises(RkllmdError) as caught:
        engine.logits(Prompt.of_text("x" * (LOGITS_PROMPT_BYTES_MAX + 1)))
    assert caught.value.code is Code.BAD_REQUEST
    assert str(LOGITS_PROMPT_BYTES_MAX) in caught.value.message
