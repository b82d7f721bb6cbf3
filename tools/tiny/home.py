"""What is answered from the prompt: the clock, the weather, the rooms and the facts of the home."""

from __future__ import annotations

from .acting import query
from .chat import Message
from .exchange import asks, says
from .scene import Fact, Scene
from .talk import NOTE, absent
from .words import WEEKDAYS, listed

ELSE = "Anything else?"


def time_now(s: Scene) -> list[Message]:
    question = s.phrase(
        "(What time is it|What's the time|What is the time|Tell me the time|"
        "Do you know the time|How late is it|"
        "Do you know what time it is|What does the clock say|Time|"
        "Tell me what time it is|The time|Can you tell me the time|"
        "What time do we have|What time is it now|Is it late|How late is it now)"
    )
    asked = asks(s, question)
    if s.time:
        return [asked, says(s, "time and date", f"It's {s.time}.", ELSE, (f"t's {s.time}",))]
    if "clock" in s.concepts:
        clock = s.words.clock()
        return query(s, asked, "clock", {}, {"time": clock}, f"It's {clock}.", (f"t's {clock}",))
    return [
        asked,
        says(s, "don't know", "I don't know what time it is.", NOTE, ("don't know what time",)),
    ]


def date_now(s: Scene) -> list[Message]:
    kind = s.rng.choice(("date", "weekday", "tomorrow"))
    question = {
        "date": "(What is the date|What's the date|Tell me the date|"
        "Which date is it|What date is it today|What is today's date|"
        "Do you know the date|What day of the month is it|The date)",
        "weekday": "(What day is it|Which day is it|What day of the week is it|"
        "Which weekday is it|What day is today|"
        "Which day of the week is it today|What weekday do we have|What day is it today)",
        "tomorrow": "(What day is tomorrow|Which day is tomorrow|What weekday is it tomorrow|"
        "What day is it tomorrow|"
        "Which day of the week is tomorrow|And which day is tomorrow)",
    }[kind]
    asked = asks(s, s.phrase(question))
    if not s.date:
        return [
            asked,
            says(s, "don't know", "I don't know what day it is.", NOTE, ("don't know what day",)),
        ]
    if kind == "date":
        return [
            asked,
            says(
                s,
                "time and date",
                f"It's {s.weekday}, {s.date}.",
                ELSE,
                (f"t's {s.weekday}, {s.date}",),
            ),
        ]
    if kind == "weekday":
        return [asked, says(s, "time and date", f"It's {s.weekday}.", ELSE, (f"t's {s.weekday}",))]
    following = WEEKDAYS[(WEEKDAYS.index(s.weekday) + 1) % 7]
    return [
        asked,
        says(s, "time and date", f"Tomorrow is {following}.", ELSE, (f"omorrow is {following}",)),
    ]


def which_rooms(s: Scene) -> list[Message]:
    question = s.phrase(
        (
            "(Which|What) rooms (are there|do we have|do you know|does the home have|does the "
            "house have|exist)"
        ),
        "(List|Name|Tell me) (the|our|all|all the) rooms",
    )
    asked = asks(s, question)
    if not s.rooms:
        return [
            asked,
            says(s, "don't know", "I don't know the rooms.", NOTE, ("don't know the rooms",)),
        ]
    text = listed(s.rooms)
    return [asked, says(s, "rooms", f"There are {text}.", ELSE, (text,))]


def is_room(s: Scene) -> list[Message]:
    if not s.rooms:
        return which_rooms(s)
    here = s.rng.random() < 0.5
    room = s.rng.choice(s.rooms) if here else s.words.room()
    while not here and any(room in other or other in room for other in s.rooms):
        room = s.words.room()
    question = s.phrase(
        (
            "(Is there a|Do we have a|Does this home have a|Is there any|Do you know a|Does "
            "the house have a) {room}( here|)"
        ),
        room=room,
    )
    word, text = ("es", f"Yes, there is a {room}.") if here else ("o", f"No, there is no {room}.")
    return [asks(s, question), says(s, "rooms", text, ELSE, (word + text[len(word) + 1 :][:-1],))]


def ask_fact(s: Scene, fact: Fact, skill: str = "facts", *, follow: bool = False) -> list[Message]:
    question = s.phrase(*fact.questions, **fact.slots)
    if follow:
        question = s.phrase("(And|What about|And what about|How about) the {subject}", **fact.slots)
    return [asks(s, question), says(s, skill, fact.answer, ELSE, (fact.value,))]


def a_fact(s: Scene) -> list[Message]:
    """A fact of the prompt; sometimes a second one of the same kind is asked for in few words."""
    if not s.facts:
        return absent(s)
    fact = s.rng.choice(s.facts)
    turns = ask_fact(s, fact)
    same = [
        f
        for f in s.facts
        if f.questions == fact.questions and f.key != fact.key and "base" not in f.slots
    ]
    followed = [f for f in same if f.slots["subject"][0].islower() and "other" not in f.slots]
    if followed and s.rng.random() < 0.8:
        turns += ask_fact(s, s.rng.choice(followed), "follow-ups", follow=True)
    return turns
