"""Which state a worker should hold before a run. Pure.

The engine itself keeps whatever a prompt and its state have in common, so there is only one
question: does what it holds now already begin with the stored prefix that this prompt wants? Then
the live state is at least as good as the file, and nothing is loaded.
"""

from rkllmd.promptcache.index import Stored
from rkllmd.runs import Prompt, RunStats

BOUNDARY_TOKENS = 1
"""The last token of a prefix may merge with the first one behind it, and an engine computes the
last token of a prompt again when its logits are needed."""


def wants_load(held: Prompt | None, prompt: Prompt, stored: Stored | None) -> bool:
    """Whether the stored state's file has to be loaded before the prompt is run."""
    if stored is None:
        return False
    if held is None:
        return True
    return held.common_units(prompt) < stored.prefix.units


def was_hit(stored: Stored | None, stats: RunStats) -> bool:
    """Whether the engine really had the stored prefix, by its own count."""
    return stored is not None and stats.cached_tokens >= stored.tokens - BOUNDARY_TOKENS
