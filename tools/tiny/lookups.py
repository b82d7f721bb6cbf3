"""Facts of a home that only the prompt knows: what kinds there are, and how each is asked for."""

from __future__ import annotations

from collections.abc import Callable

from .phrases import choose
from .scene import Fact, Scene
from .words import COLOURS, EVENTS, JOBS, PETS, RELATIONS, SERVICES, WEEKDAYS

WHAT_IS = "(What is|What's|Tell me|Do you know|Say|Give me)"


def fact(s: Scene, said: str, asked: tuple[str, ...], answer: str, **slots: str) -> Fact:
    """A fact of one kind; its key is what the question is about, so that no two facts collide."""
    what = "person" if asked[-1].startswith("(Who is") else asked[0]
    return Fact(
        key=f"{what} {slots['subject']}",
        statement=choose(s.rng, said, **slots),
        questions=asked,
        answer=answer.format(**slots),
        value=slots["v"],
        slots=slots,
    )


def someone(s: Scene) -> str:
    """A person: a new one, the user, or one of whom something is known already."""
    dice = s.rng.random()
    if dice < 0.2 and s.user:
        return s.user
    if dice < 0.4 and s.people:
        return s.rng.choice(s.people)
    s.people.append(s.words.name())
    return s.people[-1]


def something(s: Scene) -> str:
    """A thing: a new one, or one of which something is known already."""
    if s.rng.random() < 0.2 and s.things:
        return s.rng.choice(s.things)
    s.things.append(s.words.thing())
    return s.things[-1]


def secret(s: Scene) -> Fact:
    k = s.rng.choice(
        ("wifi password", "guest password", "alarm code", "gate code", "door code", "network name")
    )
    said = "The {subject} is {v}.|{K}: {v}|The {subject}: {v}"
    asked = (WHAT_IS + " the {subject}", "(I need|Can I have|May I have|Please read) the {subject}")
    return fact(
        s, said, asked, "The {subject} is {v}.", subject=k, K=k.capitalize(), v=s.words.code()
    )


def bins(s: Scene) -> Fact:
    k = s.rng.choice(("bins", "paper bins", "rubbish", "glass", "recycling", "green bin"))
    many = k.endswith("bins")
    said = "The {subject} {verb} out on {v}.|{v} is the day the {subject} {verb} out.|{K} day: {v}"
    asked = (
        "(When|On which day|What day) {do} the {subject} go out",
        "When (must|should|do) (I|we) (put|take) out the {subject}",
    )
    slots = {"verb": "go" if many else "goes", "do": "do" if many else "does", "K": k.capitalize()}
    answer = "The {subject} {verb} out on {v}."
    return fact(s, said, asked, answer, subject=k, v=s.rng.choice(WEEKDAYS), **slots)


def pet(s: Scene) -> Fact:
    said = (
        "The {subject} is called {v}.|The {subject}'s name is {v}.|There is a {subject} "
        "called {v}.|"
        "The {subject} is named {v}."
    )
    asked = (
        "(What is|What's|Tell me) (the|our|my) {subject}'s name",
        "(What is|How is|What's) (the|our|my) {subject} called",
    )
    return fact(
        s, said, asked, "The {subject} is called {v}.", subject=s.rng.choice(PETS), v=s.words.name()
    )


def birthday(s: Scene) -> Fact:
    said = (
        "{subject}'s birthday is on {v}.|{subject} was born on {v}.|{subject} has (a |"
        ")birthday on {v}."
    )
    asked = (
        "(When|On which day|What day) is {subject}'s birthday",
        "(When|On which day) (was {subject} born|does {subject} have a birthday)",
    )
    return fact(
        s, said, asked, "{subject}'s birthday is on {v}.", subject=someone(s), v=s.words.day()
    )


def spot(s: Scene) -> Fact:
    said = "The {subject} is {v}.|The {subject} is kept {v}.|You find the {subject} {v}."
    asked = (
        "(Where is|Where's) (the|my|our) {subject}",
        "(Where do I find|Where can I find|I can't find|Where did we put|I need) the {subject}",
    )
    return fact(s, said, asked, "The {subject} is {v}.", subject=something(s), v=s.words.place())


def job(s: Scene) -> Fact:
    v = f"a {s.rng.choice(JOBS)}" if s.rng.random() < 0.75 else f"a {s.words.invented()}"
    asked = (
        "What does {subject} (do|work as|do for a living)",
        "(What is|What's|Tell me) {subject}'s (job|work)",
        "(Who is|Who's|Tell me who is) {subject}",
    )
    said = "{subject} is {v}.|{subject} works as {v}."
    return fact(s, said, asked, "{subject} is {v}.", subject=someone(s), v=v)


def relation(s: Scene) -> Fact:
    v = f"{s.words.name()}'s {s.rng.choice(RELATIONS)}"
    asked = ("(Who is|Who's|Tell me who is|Do you know|Say who is) {subject}",)
    return fact(s, "{subject} is {v}.", asked, "{subject} is {v}.", subject=someone(s), v=v)


def phone(s: Scene) -> Fact:
    said = (
        "The {subject}'s number is {v}.|(Phone|Number) of the {subject}: {v}|The phone number "
        "of the {subject} is {v}."
    )
    asked = (
        WHAT_IS + " the {subject}'s (phone |)number",
        WHAT_IS + " the (phone |)number of the {subject}",
        "(How do I call|How can I reach|I need to call) the {subject}",
    )
    answer = "The {subject}'s number is {v}."
    return fact(s, said, asked, answer, subject=s.rng.choice(SERVICES), v=s.words.digits())


def liking(s: Scene) -> Fact:
    base = s.rng.choice(("like", "hate", "collect", "paint"))
    said = "{subject} {base}s {v}."
    asked = (
        "(What|Which thing) does {subject} {base}",
        "(Tell me|Do you know|Say) what {subject} {base}s",
    )
    return fact(
        s, said, asked, "{subject} {base}s {v}.", subject=someone(s), v=s.words.food(), base=base
    )


def town(s: Scene) -> Fact:
    said = (
        "The (home|house|flat) is in {v}.|The home stands in {v}.|(Location|Town|Place): {v}|"
        "We live in {v}."
    )
    asked = (
        "Where (are we|do we live|do I live|is this house|is the house|is the home)",
        "(Which|What) (town|city|place) (is this|are we in|do we live in)",
    )
    return fact(s, said, asked, "We are in {v}.", subject="town", v=s.words.town())


def event(s: Scene) -> Fact:
    v = f"on {s.rng.choice(WEEKDAYS)}" if s.rng.random() < 0.3 else f"at {s.words.clock()}"
    said = "The {subject} is {v}.|The {subject} (starts|begins) {v}."
    asked = (
        "(When|At what time) does (the|our|my) {subject} (start|begin)",
        "(When|What time|At what time) is (the|our|my) {subject}",
        "(Tell me|Do you know) when (the|our) {subject} is",
    )
    return fact(s, said, asked, "The {subject} is {v}.", subject=s.rng.choice(EVENTS), v=v)


def colour(s: Scene) -> Fact:
    v = s.rng.choice(COLOURS) if s.rng.random() < 0.7 else s.words.word()
    said = (
        "The colour of the {subject} is {v}.|The {subject} is {v} in colour.|The {subject} "
        "has the colour {v}."
    )
    asked = ("(What|Which) colour (is|has) the {subject}", WHAT_IS + " the colour of the {subject}")
    return fact(s, said, asked, "The {subject} is {v}.", subject=something(s), v=v)


def owner(s: Scene) -> Fact:
    said = "The {subject} belongs to {v}.|The {subject} is owned by {v}.|{v} owns the {subject}."
    asked = (
        "(Who owns|Whose is|Who has) the {subject}",
        "(Who does|To whom does) the {subject} belong( to|)",
    )
    return fact(
        s, said, asked, "The {subject} belongs to {v}.", subject=something(s), v=s.words.name()
    )


def visit(s: Scene) -> Fact:
    said = "{subject} (comes|visits|arrives) on {v}.|{subject} will (come|visit|arrive) on {v}."
    asked = (
        "When (does|will) {subject} (come|visit|arrive|be here)",
        "(On which day|What day) does {subject} (come|visit|arrive)",
    )
    return fact(
        s, said, asked, "{subject} comes on {v}.", subject=someone(s), v=s.rng.choice(WEEKDAYS)
    )


def warmth(s: Scene) -> Fact:
    tenths = f".{s.rng.randrange(1, 10)}" if s.rng.random() < 0.3 else ""
    v = f"{s.rng.randrange(8, 30)}{tenths} degrees"
    said = "The {subject} is at {v}.|Temperature in the {subject}: {v}|In the {subject} it is {v}."
    asked = (
        "(How warm|How cold|How hot) is (it in |)the {subject}",
        "(What is|What's|Tell me) the temperature (in|of) the {subject}",
    )
    return fact(s, said, asked, "The {subject} is at {v}.", subject=s.room(), v=v)


def lamp(s: Scene) -> Fact:
    thing = s.rng.choice(("light", "light", "light", "heating", "fan"))
    state, other = s.rng.choice(("on", "off")), s.rng.choice(("on", "on", "off"))
    yes = "Yes" if state == other else "No"
    said = "The {subject} {thing} is {state}.|The {thing} in the {subject} is {state}."
    asked = (
        "Is the {thing} in the {subject} {other}",
        "Is the {subject} {thing} {other}",
        "(Tell me|Check|Do you know) (if|whether) the {subject} {thing} is {other}",
    )
    answer = "{yes}, the {subject} {thing} is {state}."
    slots = {"thing": thing, "state": state, "other": other, "yes": yes}
    room = s.room()
    return fact(
        s, said, asked, answer, subject=room, v=f"{yes}, the {room} {thing} is {state}", **slots
    )


def anything(s: Scene) -> Fact:
    k = s.words.word()
    v = s.words.code() if s.rng.random() < 0.4 else s.words.word()
    said = "The {subject} is {v}.|{subject}: {v}|The (name|value|number) of the {subject} is {v}."
    asked = (WHAT_IS + " the {subject}", "(What about|How about|Tell me about|And) the {subject}")
    return fact(s, said, asked, "The {subject} is {v}.", subject=k, K=k.capitalize(), v=v)


KINDS: tuple[Callable[[Scene], Fact], ...] = (
    secret,
    bins,
    pet,
    birthday,
    spot,
    job,
    relation,
    phone,
    liking,
    town,
    event,
    colour,
    owner,
    visit,
    warmth,
    lamp,
    anything,
)


def draw_facts(scene: Scene, count: int) -> list[Fact]:
    """Different facts; no two answer the same question."""
    facts: dict[str, Fact] = {}
    for _ in range(count * 3):
        drawn = scene.rng.choice(KINDS)(scene)
        if len(facts) < count:
            facts.setdefault(drawn.key, drawn)
    return list(facts.values())
