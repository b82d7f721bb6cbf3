"""What is asked of the devices of a home, one function for each kind of wish."""

from __future__ import annotations

from typing import Any

from .acting import CANNOT, WHY, act, fill, query
from .chat import Message
from .exchange import asks, calls, says
from .scene import Scene
from .toolbox import OBJECTS, VERBS
from .words import GENRES, listed, spelled


def timer(s: Scene) -> list[Message]:
    n = s.rng.randrange(1, 100)
    slots = {
        "n": spelled(n) if s.rng.random() < 0.2 else str(n),
        "m": "minute" if n == 1 else "minutes",
    }
    values: dict[str, Any] = {"minutes": n}
    if s.rng.random() < 0.3:
        values["label"] = s.words.food()
        question = s.phrase(
            (
                "(Set|Start|Make|I need|Give me|Create) a timer (for|of) {n} {m} (called|"
                "named|for the|for) {label}"
            ),
            "(Set|Start) (a|an) {label} timer for {n} {m}",
            label=values["label"],
            **slots,
        )
    else:
        question = s.phrase(
            (
                "(Set|Start|Make|I need|Give me|Create|Can you set|Could you start|Run) a "
                "timer (for|of) {n} {m}"
            ),
            (
                "(Timer for|Timer|Timer of|Set timer|Count down|Wake me in|Tell me when it is|"
                "Remind me in) {n} {m}"
            ),
            "(Set|Start|I need) (a|the) {n} minute timer",
            **slots,
        )
    if s.rng.random() < 0.08 and "timer" in s.concepts:
        return ask_back(
            s,
            "timer",
            "(Set a timer|Start a timer|I need a timer|Timer|A timer)",
            "For how many minutes?",
            slots["n"],
            values,
        )
    turns = act(
        s,
        asks(s, question, "."),
        "timer",
        values,
        f"The timer is set for {n} {slots['m']}.",
        "timers",
    )
    if "timer" in s.concepts and s.rng.random() < 0.2:
        k = s.rng.randrange(2, 100)
        again = s.phrase(
            "(Make it|Change it to|No,|I meant|Rather|Better) {k} minutes( instead|)", k=str(k)
        )
        values = {key: value for key, value in values.items() if key == "label"} | {"minutes": k}
        turns += act(
            s,
            asks(s, again, ".", plain=True),
            "timer",
            values,
            f"The timer is set for {k} minutes.",
            "follow-ups",
        )
    return turns


def ask_back(
    s: Scene, concept: str, asked: str, back: str, reply: str, values: dict[str, Any]
) -> list[Message]:
    """The user leaves out the one thing needed; the assistant asks, and the call follows."""
    required = [a for a in s.concepts[concept].arguments if a.required]
    values = {role: value for role, value in values.items() if role != "label"}
    if len(required) != 1:
        return small_device(s)
    turns = [asks(s, s.phrase(asked), "."), says(s, "asking back", back, "", (back[1:-1],))]
    answer = Message("user", (s.clock_line() if s.clock_in_turn else "") + reply.capitalize() + ".")
    return [*turns, answer, calls("follow-ups", fill(s, concept, values))]


def small_device(s: Scene) -> list[Message]:
    return timer_stop(s)


def timer_stop(s: Scene) -> list[Message]:
    question = s.phrase(
        "(Cancel|Stop|End|Delete|Clear|Turn off|Switch off) (the|my|that) (timer|countdown)",
        "(Timer off|No more timer|I don't need the timer|Forget the timer|Stop the clock)",
    )
    return act(s, asks(s, question, "."), "timer_stop", {}, "The timer is cancelled.", "timers")


def timer_left(s: Scene) -> list[Message]:
    asked = asks(
        s,
        s.phrase(
            "(How much time is left|How long is left|How many minutes are left|How long "
            "does the timer run|Is the timer done|"
            "When does the timer end|How much time is left on the timer|How long until "
            "the timer ends)"
        ),
    )
    if "timer_left" not in s.concepts:
        return [asked, says(s, "no tool", CANNOT, WHY, ("can't do that here",))]
    n = s.rng.randrange(2, 100)
    key = s.rng.choice(("minutes", "left", "remaining", "minutes_left"))
    return query(
        s, asked, "timer_left", {}, {key: n}, f"There are {n} minutes left.", (f" {n} minutes",)
    )


def alarm(s: Scene) -> list[Message]:
    t = f"{s.rng.randrange(4, 24)}:{s.rng.randrange(60):02}"
    question = s.phrase(
        (
            "(Wake me|Wake me up|Set an alarm|Set the alarm|I need an alarm|Create an alarm|"
            "Make an alarm) (at|for) {t}"
        ),
        "(Alarm at|Alarm for|Get me up at|I must get up at|Set my alarm to) {t}",
        t=t,
    )
    return act(
        s, asks(s, question, "."), "alarm", {"time": t}, f"The alarm is set for {t}.", "timers"
    )


def light(s: Scene) -> list[Message]:
    state, room = s.rng.choice(("on", "off")), s.room()
    concept = "light" if "light" in s.concepts else f"light_{state}"
    grammars = (
        "(Turn|Switch|Put) {state} the (light|lights|lamp) in the {room}",
        "(Turn|Switch|Put) the {room} (light|lights|lamp) {state}",
        "(Turn|Switch|Put) {state} the {room} (light|lights|lamp)",
        "(Turn|Switch|Put) the (light|lights) in the {room} {state}",
        (
            "({room} (light|lights) {state}|(Light|Lights) {state} in the {room}|(Can|Could|"
            "Would) you (turn|switch) {state} the {room} light)"
        ),
        "(I want|I need|I'd like) the (light|lights) {state} in the {room}",
    )
    if s.rng.random() < 0.07 and concept in s.concepts and len(s.concepts[concept].arguments) == 1:
        asked = (
            f"(Turn|Switch) {state} the (light|lights|lamp)|(Turn|Switch) the (light|lights) "
            f"{state}|Light {state}"
        )
        return ask_back(
            s,
            concept,
            asked,
            "In which room?",
            f"{s.rng.choice(('the ', 'in the ', ''))}{room}",
            {"room": room},
        )
    question = s.phrase(*grammars, state=state, room=room)
    values = {"room": room, "state": state}
    turns = act(
        s, asks(s, question, "."), concept, values, f"The {room} light is {state}.", "lights"
    )
    if concept in s.concepts and s.rng.random() < 0.3:
        other = s.room()
        if other != room:
            turns += again_in(
                s, concept, other, {"room": other, "state": state}, f"The {other} light is {state}."
            )
    return turns


def again_in(
    s: Scene, concept: str, room: str, values: dict[str, Any], report: str
) -> list[Message]:
    """The same again in another room, said in few words."""
    asked = s.phrase(
        "(And|And also|Also|Now|The same|And the same|Same) in the {room}",
        (
            "(And the {room}|The {room} too|The {room} as well|And the {room} too|What about "
            "the {room}|And what about the {room}|How about the {room})"
        ),
        room=room,
    )
    return act(s, asks(s, asked, ".", plain=True), concept, values, report, "follow-ups")


def dim(s: Scene) -> list[Message]:
    n, room = s.rng.randrange(1, 101), s.room()
    question = s.phrase(
        "(Dim|Set|Put|Turn) the {room} (light|lights|lamp) to {n} percent",
        "(Set|Change|Put) the brightness (in|of) the {room} to {n}( percent|)",
        (
            "(Make the light in the {room} {n} percent bright|{room} light to {n} percent|"
            "Lights in the {room} at {n} percent)"
        ),
        room=room,
        n=str(n),
    )
    values = {"room": room, "level": n}
    return act(
        s, asks(s, question, "."), "dim", values, f"The {room} light is at {n} percent.", "lights"
    )


def heat(s: Scene) -> list[Message]:
    n, room = s.rng.randrange(5, 31), s.room()
    question = s.phrase(
        (
            "(Set|Turn|Put|Change) the (heating|temperature|thermostat) in the {room} to {n}( "
            "degrees|)"
        ),
        "(Heat|Warm) the {room} (up |)to {n} degrees",
        "(Set|Put|Bring) the {room} to {n} degrees",
        (
            "(Make it {n} degrees in the {room}|I want {n} degrees in the {room}|{room} to "
            "{n} degrees|{n} degrees in the {room})"
        ),
        room=room,
        n=spelled(n) if s.rng.random() < 0.15 else str(n),
    )
    values = {"room": room, "degrees": n}
    turns = act(
        s, asks(s, question, "."), "heat", values, f"The {room} is set to {n} degrees.", "heating"
    )
    if "heat" in s.concepts and s.rng.random() < 0.25:
        other = s.room()
        if other != room:
            turns += again_in(
                s,
                "heat",
                other,
                {"room": other, "degrees": n},
                f"The {other} is set to {n} degrees.",
            )
    return turns


def warmth(s: Scene) -> list[Message]:
    known = {fact.slots["subject"] for fact in s.facts}
    room = s.room()
    while room in known:
        room = s.words.room()
    question = s.phrase(
        "(How warm|How cold|How hot) is (it in |)the {room}",
        "(What is|What's|Tell me|Check|Read) the temperature (in|of) the {room}",
        room=room,
    )
    asked = asks(s, question)
    if "warmth" not in s.concepts:
        return [
            asked,
            says(
                s,
                "don't know",
                "I don't know that.",
                "I only know what my notes say.",
                ("don't know that",),
            ),
        ]
    turns = told_warmth(s, asked, room)
    if s.rng.random() < 0.3:
        other = s.words.room()
        again = s.phrase("(And in|What about|And what about|How about|And) the {room}", room=other)
        turns += told_warmth(s, asks(s, again, plain=True), other, "follow-ups")
    return turns


def told_warmth(s: Scene, asked: Message, room: str, skill: str = "heating") -> list[Message]:
    n = str(s.rng.randrange(5, 32)) + (f".{s.rng.randrange(1, 10)}" if s.rng.random() < 0.4 else "")
    key = s.rng.choice(("temperature", "degrees", "value", "celsius", "current"))
    result: dict[str, Any] = {key: float(n) if "." in n else int(n)}
    if s.rng.random() < 0.4:
        result = {s.rng.choice(("room", "area", "name")): room} | result
    turns = query(
        s,
        asked,
        "warmth",
        {"room": room},
        result,
        f"The {room} is at {n} degrees.",
        (f"{room} is at {n} degrees",),
    )
    call = turns[1].call
    assert call is not None
    return [turns[0], calls(skill, call), *turns[2:]]


def play(s: Scene) -> list[Message]:
    w, room = s.words, s.room()
    title = (
        s.rng.choice(GENRES)
        if s.rng.random() < 0.35
        else " ".join(w.word() for _ in range(s.rng.choice((1, 1, 2))))
    )
    values = {"title": title}
    where = ""
    if s.rng.random() < 0.35:
        values["room"] = room
        where = f" in the {room}"
    question = s.phrase(
        (
            "(Play|Start|Put on|I want to hear|Let me hear|Can you play|Could you play|I'd "
            "like to hear|Let's hear|Turn on) {title}{where}"
        ),
        title=title,
        where=where,
    )
    return act(s, asks(s, question, "."), "play", values, f"Playing {title}.", "media")


def pause(s: Scene) -> list[Message]:
    question = s.phrase(
        "(Pause|Stop|Turn off|Switch off|Halt|End) (the|this|that) (music|song|radio)|(No "
        "more music|Music off|Pause it|Pause|Stop playing)"
    )
    return act(s, asks(s, question, "."), "pause", {}, "The music is paused.", "media")


def volume(s: Scene) -> list[Message]:
    n = s.rng.randrange(0, 101)
    question = s.phrase(
        "(Set|Turn|Change|Put) the volume to {n}( percent|)",
        "(Volume|Volume to|Volume at|Make the volume|I want the volume at|Loudness) {n}( percent|)",
        n=str(n),
    )
    return act(s, asks(s, question, "."), "volume", {"level": n}, f"The volume is at {n}.", "media")


def shop(s: Scene) -> list[Message]:
    item = s.words.food()
    question = s.phrase(
        "(Add|Put|Write) {item} (to|on) (the|my|our) (shopping list|list)",
        (
            "(We need|I need to buy|Buy|Remind me to buy|We are out of|Note) {item}( for the "
            "shopping list|)"
        ),
        item=item,
    )
    turns = act(
        s,
        asks(s, question, "."),
        "shop",
        {"item": item},
        f"I added {item} to the list.",
        "shopping list",
    )
    if "shop" in s.concepts and s.rng.random() < 0.3:
        other = s.words.food()
        again = s.phrase(
            "(And|Also|And also|Also add|And add|And then|Then also) {item}( too|)", item=other
        )
        turns += act(
            s,
            asks(s, again, ".", plain=True),
            "shop",
            {"item": other},
            f"I added {other} to the list.",
            "follow-ups",
        )
    return turns


def shopping(s: Scene) -> list[Message]:
    asked = asks(
        s,
        s.phrase(
            "(What is|What's|Tell me what is|Read me what is) on (the|my|our) (shopping list|list)",
            (
                "(Read|Show|Tell me|Read out) (the|my|our) shopping list|What (do we need|"
                "should I buy|do I have to buy)"
            ),
        ),
    )
    if "shopping" not in s.concepts:
        return [asked, says(s, "no tool", CANNOT, WHY, ("can't do that here",))]
    items = list(dict.fromkeys(s.words.food() for _ in range(s.rng.randrange(1, 5))))
    text = listed(items)
    key = s.rng.choice(("items", "list", "shopping_list"))
    return query(s, asked, "shopping", {}, {key: items}, f"On the list: {text}.", (text,))


def odd(s: Scene) -> list[Message]:
    """Something unusual, with its tool or without."""
    keys = [key for key in s.concepts if key.startswith("odd ")]
    if not keys:
        verb = s.rng.choice(VERBS) if s.rng.random() < 0.6 else s.words.invented()
        key = f"odd {verb} {s.rng.choice(OBJECTS) if s.rng.random() < 0.5 else s.words.invented()}"
    else:
        key = s.rng.choice(keys)
    _, verb, thing = key.split(" ")
    values: dict[str, Any] = {}
    where = ""
    if key in s.concepts and "room" in s.roles[key]:
        values["room"] = s.room()
        where = f" in the {values['room']}"
    question = s.phrase(
        (
            "(|Can you |Could you |I want you to |Would you |Go and |You should |Time to |I'd "
            "like you to |Go |Will you ){verb} the {thing}{where}"
        ),
        verb=verb,
        thing=thing,
        where=where,
    )
    return act(s, asks(s, question, "."), key, values, "Done.", "other tools")


def cannot(s: Scene) -> list[Message]:
    """A wish for which this scene lists no tool."""
    absent = [
        name
        for name in ACTIONS
        if name not in s.concepts and (name != "light" or "light_on" not in s.concepts)
    ]
    return ACTIONS[s.rng.choice(absent)](s) if absent else odd(s)


ACTIONS = {
    "timer": timer,
    "timer_stop": timer_stop,
    "timer_left": timer_left,
    "alarm": alarm,
    "light": light,
    "dim": dim,
    "heat": heat,
    "play": play,
    "pause": pause,
    "volume": volume,
    "shop": shop,
    "shopping": shopping,
}
