"""The weather: from the prompt, from a tool, or not known."""

from __future__ import annotations

from typing import Any

from .acting import query
from .chat import Message
from .exchange import asks, calls, says
from .home import ELSE
from .scene import Scene
from .talk import NOTE
from .words import SKIES, WEEKDAYS


def weather_now(s: Scene) -> list[Message]:
    """Asked for today's weather: from the prompt, else from a tool, else not known."""
    if not s.weather and "weather" in s.concepts:
        return weather(s)
    question = s.phrase(
        "(What is|What's|How is|How's|Tell me) the weather( today| outside| like| now|)",
        "(Is it cold outside|Is it warm outside|How is it outside|Do I need a coat|Do I "
        "need an umbrella|How warm is it outside|"
        "How cold is it outside|What is it like outside|Will I need a jacket)",
    )
    asked = asks(s, question)
    if s.weather:
        return [asked, says(s, "weather", f"It's {s.weather}.", ELSE, (s.weather,))]
    return [
        asked,
        says(s, "don't know", "I don't know the weather.", NOTE, ("don't know the weather",)),
    ]


def weather(s: Scene) -> list[Message]:
    if s.weather and s.rng.random() < 0.9:
        return weather_now(s)
    if "weather" not in s.concepts:
        asked = asks(
            s,
            s.phrase(
                "(What is|What's|How is|How's|Tell me) the weather( today| outside| like| now|)"
            ),
        )
        return [
            asked,
            says(
                s,
                "don't know",
                "I don't know the weather.",
                "I only know what my notes say.",
                ("don't know the weather",),
            ),
        ]
    roles = s.roles["weather"]
    values: dict[str, Any] = {}
    when = where = ""
    if "day" in roles and s.rng.random() < 0.6:
        values["day"] = s.rng.choice(("tomorrow", "today", *WEEKDAYS))
        when = f" {'on ' if values['day'] in WEEKDAYS else ''}{values['day']}"
    if "town" in roles and s.rng.random() < 0.6:
        values["town"] = s.words.town()
        where = f" in {values['town']}"
    question = s.phrase(
        "(What is|What's|How is|How's|Tell me) the weather (like|){where}{when}",
        "(How will the weather be|What will the weather be|What does the forecast say|"
        "Will it rain|Is it warm|Is it cold|What about the weather|"
        "Will it be sunny|Do we get rain|Weather|The weather){where}{when}",
        when=when,
        where=where,
    )
    turns = told_weather(s, asks(s, question), values, "weather")
    if "day" in roles and s.rng.random() < 0.35:
        day = s.rng.choice(("tomorrow", *WEEKDAYS))
        spoken = day if day == "tomorrow" else f"on {day}"
        again = s.phrase(
            "(And|What about|And what about|How about|And how is it|And the weather) {day}",
            day=spoken,
        )
        turns += told_weather(s, asks(s, again, plain=True), values | {"day": day}, "follow-ups")
    elif "town" in roles and "town" in values and s.rng.random() < 0.35:
        town = s.words.town()
        again = s.phrase(
            "(And|What about|And what about|How about|And how is it) in {town}", town=town
        )
        turns += told_weather(s, asks(s, again, plain=True), values | {"town": town}, "follow-ups")
    return turns


def told_weather(s: Scene, asked: Message, values: dict[str, Any], skill: str) -> list[Message]:
    sky, n = s.rng.choice(SKIES), s.rng.randrange(-9, 36)
    first = s.rng.choice(("condition", "sky", "weather", "state"))
    second = s.rng.choice(("temperature", "degrees", "high", "celsius"))
    report = f"The weather is {sky} with {n} degrees."
    turns = query(
        s, asked, "weather", values, {first: sky, second: n}, report, (f"{sky} with {n} degrees",)
    )
    call = turns[1].call
    assert call is not None
    return [turns[0], calls(skill, call), *turns[2:]]
