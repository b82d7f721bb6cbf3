"""The two sides of an exchange: how a user's words come in, how an answer is written and judged."""

from __future__ import annotations

from .chat import Call, Expect, Message
from .scene import Scene

BEFORE = ("Please ", "Hey, ", "Okay, ", "Hello, ", "So, ", "Um, ", "Now ", "Excuse me, ")
AFTER = (" please", ", please", " now", ", thanks")


def asks(scene: Scene, text: str, mark: str = "?", *, plain: bool = False) -> Message:
    """A user's turn: the words as typed, or as a speech recogniser writes them."""
    rng = scene.rng
    before = after = ""
    if not plain:
        dice = rng.random()
        if dice < 0.12:
            before = rng.choice(BEFORE)
        elif dice < 0.2 and scene.name:
            before = f"{rng.choice(('', '', 'Hey ', 'Okay '))}{scene.name}, "
        if rng.random() < 0.1:
            after = rng.choice(AFTER)
    if before:
        text = text[0].lower() + text[1:] if text[:2] not in ("I ", "I'") else text
    text = before + text + after
    dice = rng.random()
    if dice < 0.6:
        text = text[0].upper() + text[1:] + mark
    elif dice < 0.75:
        text = text[0].lower() + text[1:]
    elif dice < 0.85:
        text = text[0].upper() + text[1:]
    elif dice < 0.93:
        text = text[0].lower() + text[1:] + mark
    else:
        text = text[0].upper() + text[1:] + "."
    clock = scene.clock_line() if scene.clock_in_turn else ""
    return Message("user", clock + text)


def says(
    scene: Scene, skill: str, short: str, more: str = "", parts: tuple[str, ...] = ()
) -> Message:
    """An assistant's answer in the scene's voice, judged by the parts it must have."""
    text = scene.voice.say(short, more)
    marks = tuple(word for word in (scene.voice.opening, scene.voice.closing) if word)
    return Message(
        "assistant", text, Expect(skill, parts=parts + marks, one_sentence=scene.voice.brief)
    )


def says_one_of(
    scene: Scene, skill: str, chosen: str, answers: tuple[str, ...], more: str = ""
) -> Message:
    """An answer of which there are several right ones; the whole of it is judged."""
    among = tuple(scene.voice.say(answer, more) for answer in answers)
    return Message("assistant", scene.voice.say(chosen, more), Expect(skill, among=among))


def calls(skill: str, call: Call) -> Message:
    """A tool call."""
    return Message("assistant", call.text(), Expect(skill, call=call), call)
