"""What a model is loaded from: its folder's entry and its worker's settings. Pure."""

from dataclasses import dataclass, replace

from rkllmd.config import settings
from rkllmd.registry.models import ModelEntry
from rkllmd.runs import LoadSpec, ModelFacts


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to load a model."""

    entry: ModelEntry
    spec: LoadSpec
    limits: settings.Engine
    cancel_s: float

    def amounts_to(self, other: "Recipe", facts: ModelFacts) -> bool:
        """Whether a worker of the other one does as well."""
        spec = self.spec
        if facts.capabilities.run_sampling:  # what it was loaded with is told anew with each run
            spec = replace(spec, sampling=other.spec.sampling, max_tokens=other.spec.max_tokens)
        return replace(self, spec=spec) == other

    def has_files_of(self, other: "Recipe") -> bool:
        """Whether what this one needs is on the disk as it was, as the other one saw it."""
        mine, theirs = self.entry, other.entry
        return mine.identity == theirs.identity and all(
            adapter in theirs.adapters for adapter in mine.adapters
        )
