"""How a tool is used in a conversation: the call, what the tool answers, and what is said then."""

from __future__ import annotations

import json
from typing import Any

from .chat import Call, Message
from .exchange import calls, says
from .scene import Scene

CANNOT = "I can't do that here."
WHY = "I have no tool for it."
FAILED = "Sorry, that did not work."

DONE = (
    "ok",
    "done",
    '{"ok": true}',
    '{"status": "ok"}',
    "success",
    '{"success": true}',
    "OK",
    '{"result": "done"}',
    "true",
)
BROKEN = (
    "error",
    '{"error": "not found"}',
    "failed",
    '{"ok": false}',
    "error: timeout",
    '{"success": false}',
    "not available",
)


def fill(s: Scene, concept: str, values: dict[str, Any]) -> Call:
    """A call with the arguments in the order in which the tool lists them."""
    tool, roles = s.concepts[concept], s.roles[concept]
    by_name = {roles[role]: value for role, value in values.items() if role in roles}
    for argument in tool.arguments:
        if argument.kind == "boolean":
            by_name[argument.name] = by_name[argument.name] == "on"
    return Call(tool.name, {a.name: by_name[a.name] for a in tool.arguments if a.name in by_name})


def act(
    s: Scene, asked: Message, concept: str, values: dict[str, Any], report: str, skill: str
) -> list[Message]:
    """Ask, call, be told that it worked or did not, and say so; or refuse when no tool is there."""
    if concept not in s.concepts:
        return [asked, says(s, "no tool", CANNOT, WHY, ("can't do that here",))]
    turns = [asked, calls(skill, fill(s, concept, values))]
    if s.rng.random() < 0.12:
        turns += [
            Message("tool", s.rng.choice(BROKEN)),
            says(s, "tool results", FAILED, "", ("did not work",)),
        ]
    else:
        turns += [
            Message("tool", s.rng.choice(DONE)),
            says(s, "tool results", report, "", (report[1:-1],)),
        ]
    return turns


def query(
    s: Scene,
    asked: Message,
    concept: str,
    values: dict[str, Any],
    result: dict[str, Any],
    report: str,
    parts: tuple[str, ...],
) -> list[Message]:
    """Ask, call, get the result in some form, and say it."""
    skill = {"clock": "time and date"}.get(concept, concept)
    turns = [asked, calls(SKILLS.get(skill, skill), fill(s, concept, values))]
    told = json.dumps(result, ensure_ascii=False)
    if s.rng.random() < 0.25:
        told = json.dumps(
            {s.rng.choice(("result", "response", "data", "state")): result}, ensure_ascii=False
        )
    if s.rng.random() < 0.4:
        told = ", ".join(", ".join(v) if isinstance(v, list) else str(v) for v in result.values())
    return [*turns, Message("tool", told), says(s, "tool results", report, "", parts)]


SKILLS = {
    "timer": "timers",
    "timer_stop": "timers",
    "timer_left": "timers",
    "alarm": "timers",
    "light": "lights",
    "dim": "lights",
    "heat": "heating",
    "warmth": "heating",
    "play": "media",
    "pause": "media",
    "volume": "media",
    "weather": "weather",
    "shop": "shopping list",
    "shopping": "shopping list",
}
