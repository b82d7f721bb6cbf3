"""Prompts built like the shipped `system.txt`, with every part that a user may edit drawn anew.

The shipped text has four paragraphs: who speaks to whom, the manner, the use of tools, and a list
of facts. Training sees hundreds of thousands of its kind, never the same twice, so that an edited
one is nothing new."""

from __future__ import annotations

from .lookups import draw_facts
from .phrases import choose
from .scene import REMARKS, Scene, draw_identity, draw_rooms, draw_voice

MANNER = REMARKS[:4] + REMARKS[6:10] + REMARKS[11:]
TOOLS = REMARKS[4:6] + REMARKS[11:12]
HEADINGS = (
    "(These are|Here are) the facts about the (home|house):|About the (home|house):|Facts:|"
    "Notes:|What you know about the home:"
)


def write_household(scene: Scene) -> str:
    """The whole prompt of a scene; fills in the scene's name, user, rooms, facts and voice."""
    rng = scene.rng
    identity = draw_identity(scene)
    voice = draw_voice(scene)
    manner = voice + [
        scene.split.phrase(rng, remark) for remark in rng.sample(MANNER, rng.randint(2, 8))
    ]
    if rng.random() < 0.5:
        rng.shuffle(manner)
    tools = [scene.split.phrase(rng, remark) for remark in TOOLS if rng.random() < 0.8]
    rooms = draw_rooms(scene, 7)
    scene.facts = draw_facts(scene, rng.randint(3, 15))
    facts = [fact.statement for fact in scene.facts]
    facts.insert(rng.randrange(3), rooms[0]) if "\n" not in rooms[0] else manner.append(rooms[0])
    mark = rng.choice(("- ", "- ", "- ", "* ", ""))
    listed = "\n".join([choose(rng, HEADINGS), *(mark + fact for fact in facts)])
    paragraphs = ["\n".join(identity) if rng.random() < 0.6 else " ".join(identity)]
    paragraphs += [" ".join(manner), " ".join(tools), listed]
    if rng.random() < 0.3:
        paragraphs.append(scene.split.phrase(rng, rng.choice(MANNER)))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
