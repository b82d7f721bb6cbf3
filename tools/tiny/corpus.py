"""The corpus: conversations with their system prompts, drawn from a seed.

One *sample* is a prompt with several branches; a branch is a conversation of one or a few exchanges
that starts after the prompt. The same seed and number give the same sample on every machine. Run as
a program, it prints samples to look at."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from dataclasses import dataclass

from . import devices, home, talk, weather
from .chat import Message, Tool, render_message, render_system
from .household import write_household
from .lookups import draw_facts
from .phrases import Split
from .scene import (
    Scene,
    draw_clock,
    draw_identity,
    draw_rooms,
    draw_voice,
    draw_weather,
    pick_remarks,
    write_system,
)
from .toolbox import draw_tools
from .words import Words

TALKING: dict[Callable[[Scene], list[Message]], float] = {
    talk.small_talk: 2.4,
    talk.own_name: 2.4,
    talk.who_are_you: 1.0,
    talk.is_your_name: 0.5,
    talk.user_name: 1.4,
    talk.told_name: 0.6,
    talk.joke: 1.2,
    talk.small_sum: 2.4,
    talk.unit: 1.2,
    talk.unknown: 1.0,
    talk.absent: 0.9,
    talk.repeat: 0.8,
    home.time_now: 2.0,
    home.date_now: 2.0,
    weather.weather_now: 1.2,
    home.which_rooms: 2.0,
    home.is_room: 1.4,
    home.a_fact: 8.0,
    devices.cannot: 1.2,
    devices.odd: 0.3,
}
"""How often each kind of exchange is drawn."""

WITH_TOOLS: dict[str, Callable[[Scene], list[Message]]] = {
    **devices.ACTIONS,
    "light_on": devices.light,
    "light_off": devices.light,
    "warmth": devices.warmth,
    "weather": weather.weather,
    "clock": home.time_now,
}
"""For each concept of a tool: the exchange that uses it."""


@dataclass
class Sample:
    """A prompt and the conversations that may follow it."""

    system: str
    tools: list[Tool]
    branches: list[list[Message]]

    def prefix(self) -> str:
        return render_system(self.system, self.tools)

    def texts(self) -> list[str]:
        """Every branch as text, each after the prefix."""
        return [
            self.prefix() + "".join(render_message(m) for m in branch) for branch in self.branches
        ]


def draw_scene(rng: random.Random, split: Split, size: str) -> Scene:
    """A scene with a prompt of a size (see `SIZES`)."""
    scene = Scene(Words(rng, split), split, rng)
    if size == "none":
        return scene
    if size == "household":
        if rng.random() < 0.5:
            draw_clock(scene, in_turn=True)
        scene.system = write_household(scene)
        return scene
    long, medium, huge = size in ("long", "huge"), size == "medium", size == "huge"
    chance = 0.95 if long else 0.6 if medium else 0.25
    first = draw_identity(scene)
    rest: list[str] = []
    if rng.random() < chance:
        rest += draw_rooms(scene, 8 if long else 5)
    if rng.random() < (0.5 if long else 0.4):
        rest += draw_clock(scene)
    if rng.random() < 0.3:
        rest += draw_weather(scene)
    count = (
        rng.randint(8, 14)
        if huge
        else rng.randint(3, 7)
        if long
        else rng.randint(1, 5)
        if medium
        else rng.choice((0, 0, 0, 1, 2))
    )
    scene.facts = draw_facts(scene, count)
    rest += [fact.statement for fact in scene.facts]
    rest += draw_voice(scene)
    rest += pick_remarks(
        scene,
        rng.randint(9, 18)
        if huge
        else rng.randint(5, 10)
        if long
        else rng.choice((0, 1, 2))
        if medium
        else 0,
    )
    scene.system = write_system(scene, first, rest)
    return scene


SIZES = (
    ("none", 0.02),
    ("short", 0.40),
    ("medium", 0.28),
    ("long", 0.10),
    ("huge", 0.03),
    ("household", 0.17),
)
"""Sizes of prompts, and how often each is drawn."""


def draw_sample(seed: str, split: Split, size: str = "", branches: int = 0) -> Sample:
    """The sample that belongs to a seed."""
    rng = random.Random(seed)
    size = size or rng.choices([s for s, _ in SIZES], [w for _, w in SIZES])[0]
    scene = draw_scene(rng, split, size)
    if rng.random() < 0.72:
        draw_tools(scene, {"huge": 7}.get(size, 4))
    branches = (
        branches
        or {"none": 4, "short": 6, "medium": 8, "long": 12, "huge": 14, "household": 14}[size]
    )
    return Sample(scene.system, scene.tools, [draw_branch(scene) for _ in range(branches)])


def draw_branch(scene: Scene) -> list[Message]:
    """A conversation: mostly one exchange, sometimes more about different things."""
    turns: list[Message] = []
    for _ in range(scene.rng.choice((1, 1, 1, 1, 2, 2, 3))):
        turns += draw_exchange(scene)
    return turns


def draw_exchange(scene: Scene) -> list[Message]:
    rng = scene.rng
    dice = rng.random()
    if scene.concepts and dice < 0.6:
        concept = rng.choice(list(scene.concepts))
        return WITH_TOOLS.get(concept, devices.odd)(scene)
    if scene.concepts and dice < 0.68:
        return devices.cannot(scene)
    kind = rng.choices(list(TALKING), list(TALKING.values()))[0]
    if lacks(scene, kind) and rng.random() < 0.7:
        return draw_exchange(scene)
    return kind(scene)


def lacks(scene: Scene, kind: Callable[[Scene], list[Message]]) -> bool:
    """Whether the prompt does not say what would be asked for; such questions are to be rare."""
    needed = {
        talk.user_name: scene.user,
        home.time_now: scene.time or "clock" in scene.concepts,
        home.date_now: scene.date,
        weather.weather_now: scene.weather or "weather" in scene.concepts,
        home.which_rooms: scene.rooms,
        home.is_room: scene.rooms,
        home.a_fact: scene.facts,
    }
    return not needed.get(kind, True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print samples of the corpus.")
    parser.add_argument("--seed", default="0", help="which corpus")
    parser.add_argument("--count", type=int, default=3, help="how many samples")
    parser.add_argument("--held-out", action="store_true", help="the evaluation side")
    parser.add_argument(
        "--size", default="", choices=["", *(name for name, _ in SIZES)], help="size of the prompt"
    )
    given = parser.parse_args()
    for number in range(given.count):
        sample = draw_sample(f"{given.seed}:{number}", Split(given.held_out), given.size)
        print("=" * 100)
        print(sample.prefix())
        for branch in sample.branches:
            print("-" * 40)
            print("".join(render_message(message) for message in branch))


if __name__ == "__main__":
    main()
