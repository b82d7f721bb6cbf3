"""The bundled model: its corpus is reproducible and divided, and the shipped weights answer."""

import json
from pathlib import Path

import jinja2
import pytest

from tools.tiny.bpe import Tokenizer, learn
from tools.tiny.chat import ANSWER_OPENING, TEMPLATE, TURN_END, Message, render_message
from tools.tiny.corpus import SIZES, Sample, draw_sample
from tools.tiny.evaluate import check_disjoint, draw_items, evaluate, is_right
from tools.tiny.phrases import Split, divided, expand
from tools.tiny.runners import Runner, open_runner
from tools.tiny.words import NAMES, NAMES_HELD, ROOMS, ROOMS_HELD

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "tiny-assistant" / "tiny-assistant.gguf"
SYSTEM = ROOT / "etc" / "config" / "system.txt"
TRAINING, HELD = Split(held=False), Split(held=True)


def text_of(sample: Sample) -> str:
    return "\n".join(sample.texts())


def test_a_seed_gives_the_same_corpus():
    first = [text_of(draw_sample(f"a:{n}", TRAINING)) for n in range(50)]
    again = [text_of(draw_sample(f"a:{n}", TRAINING)) for n in range(50)]
    other = [text_of(draw_sample(f"b:{n}", TRAINING)) for n in range(50)]
    assert first == again
    assert first != other


@pytest.mark.parametrize("size", [name for name, _ in SIZES])
def test_every_size_of_prompt_is_drawn_on_both_sides(size: str):
    for split in (TRAINING, HELD):
        for number in range(20):
            sample = draw_sample(f"{size}:{number}", split, size)
            assert "{" not in sample.system
            assert all(branch[-1].role in ("assistant", "tool") for branch in sample.branches)


def test_grammars_expand_and_divide():
    grammar = "(set|start) a (timer|clock|) (now|)|stop"
    assert expand(grammar)[0] == "set a timer now"
    assert "start a" in expand(grammar)
    training, held = divided(grammar)
    assert not set(training) & set(held)
    assert set(training) | set(held) == set(expand(grammar))


def test_words_are_divided():
    assert not set(NAMES) & set(NAMES_HELD)
    assert not set(ROOMS) & set(ROOMS_HELD)
    assert TRAINING.owns("zorvak") != HELD.owns("zorvak")


def test_nothing_in_the_evaluation_is_in_the_training():
    assert check_disjoint(draw_items("evaluation", 5)) > 1000


def test_the_reference_answers_are_right_by_the_evaluation():
    for item in draw_items("evaluation", 10):
        assert is_right(item.expect, item.gold), item.gold


def test_the_template_renders_what_the_corpus_renders():
    environment = jinja2.Environment()
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    template = environment.from_string(TEMPLATE)
    for number in range(100):
        sample = draw_sample(f"template:{number}", TRAINING)
        messages = [message.as_dict() for message in sample.branches[0]]
        if sample.system:
            messages.insert(0, {"role": "system", "content": sample.system})
        tools = [tool.schema() for tool in sample.tools]
        rendered = template.render(messages=messages, tools=tools, add_generation_prompt=True)
        assert rendered == sample.texts()[0] + ANSWER_OPENING


def test_text_survives_the_tokenizer():
    tokenizer = Tokenizer(learn(["the timer is set for 12 minutes in the kitchen"] * 3, 20))
    for text in ("The timer: 12 minutes!", "Grüße, 你好 🙂\n\n  x", 'a {"b": 1}', ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode(TURN_END)) == 1


@pytest.fixture(scope="module")
def runner() -> Runner:
    return open_runner("tiny", MODEL)


@pytest.mark.parametrize("nth", range(4))
def test_the_shipped_model_answers_held_out_questions(runner: Runner, nth: int):
    """One question of each skill."""
    report = evaluate(runner, draw_items("evaluation", 4)[nth::4])
    print("\n".join(report.lines()))
    right = sum(score.right for score in report.skills.values())
    total = sum(score.total for score in report.skills.values())
    assert right >= 0.75 * total
    assert report.ended.right >= 0.9 * report.ended.total


@pytest.mark.parametrize("name", ["Nova", "Jarvis", "Zelkbrat", "HAL", "Otto", "Computer"])
def test_an_edited_system_prompt_changes_the_name(runner: Runner, name: str):
    system = SYSTEM.read_text(encoding="utf-8").strip()
    assert "You are Nova," in system
    edited = system.replace("You are Nova,", f"You are {name},")
    for question in ("What is your name?", "what's your name", "Who are you?"):
        prompt = f"<|im_start|>system\n{edited}<|im_end|>\n"
        prompt += render_message(Message("user", question)) + ANSWER_OPENING
        answer = runner.answer(prompt, 40)
        assert name in answer.text, answer.text
        assert answer.ended
