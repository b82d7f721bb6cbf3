"""What is said to the models: questions that differ, and system prompts of a wanted length."""

from collections.abc import Callable

ROOMS = ("kitchen", "hall", "bedroom", "bath", "garden", "office", "cellar", "attic")
THINGS = ("light", "heating", "radio", "blind", "fan", "lamp", "door", "window")
SYSTEM = "You are Nova, the voice assistant of this home. Answer in one short sentence."


def question(number: int) -> str:
    """One that no other number has, and whose answer is short."""
    room = ROOMS[number % len(ROOMS)]
    thing = THINGS[number // len(ROOMS) % len(THINGS)]
    return f"Turn on the {thing} number {number} in the {room}, please."


def facts(count: int) -> list[str]:
    """Sentences of which no two are alike."""
    return [
        f"The {THINGS[n % 8]} number {n} is in the {ROOMS[n // 8 % 8]}."
        for n in range(1, count + 1)
    ]


def system_prompt(tokens: int, opening: str, count_tokens: Callable[[str], int]) -> str:
    """A system prompt of as many tokens as wanted, or a few less."""
    words = " ".join([opening, SYSTEM, *facts(tokens)]).split()
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if count_tokens(" ".join(words[:middle])) <= tokens:
            low = middle
        else:
            high = middle - 1
    return " ".join(words[:low])
