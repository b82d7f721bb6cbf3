"""Supervisors with a scripted engine in a real process."""

from contextlib import asynccontextmanager

from rkllmd.config import settings
from rkllmd.runs import LoadSpec, Prompt
from rkllmd.worker.channel import Piece
from rkllmd.worker.supervisor import Supervisor
from tests.fakes.scripted_engine import answer_to

ENGINE = "tests.fakes.scripted_engine"


class Watched(Supervisor):
    """A supervisor that writes down what it tells."""

    def __init__(self, options, cancel_s=30.0, engine=ENGINE, **limits):
        self.states, self.ends, self.loads = [], [], []
        super().__init__(
            "parrot",
            engine,
            LoadSpec("/nowhere", options=options),
            settings.Engine(**limits),
            cancel_s,
            on_state=lambda: self.states.append(str(self.state)),
            on_end=self.ends.append,
            on_load=self.loads.append,
        )


@asynccontextmanager
async def living(cancel_s=30.0, limits=None, **options):
    async with Watched(options, cancel_s, **(limits or {})) as supervisor:
        await supervisor.start()
        yield supervisor


def prompt(text):
    """A prompt as the scripted engine takes it: a token is a byte."""
    return Prompt.of_tokens(list(text.encode()))


def words(items):
    """The text of what came."""
    return "".join(item.text for item in items if isinstance(item, Piece))


def expected(text, count):
    """What the scripted engine answers to a prompt."""
    context = begun = text.encode()
    for _ in range(count):
        context += bytes([answer_to(context)])
    return context[len(begun) :].decode()
