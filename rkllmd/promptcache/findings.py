"""What was found out about models by trying, so that no restart has to try it again.

`.findings.json` in the root of the store: {"findings": [{"fingerprint", "model_sha256",
"cannot_save", "context_limit"}]}, the latest last. A finding is true of one fingerprint of a loaded
model: another runtime, model file, context or adapter is tried anew. Losing one costs another try,
so they are written now and then and a file that cannot be read counts as none.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Annotated

from rkllmd import shape
from rkllmd.promptcache.fingerprint import Count, Ingredients, Sha256
from rkllmd.shape import Length

FINDINGS_BYTES_MAX = 1 << 20
FINDINGS_MAX = 100
"""The oldest are forgotten."""
REASON_CHARACTERS_MAX = 2000


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of a model as it was once loaded."""

    fingerprint: Sha256
    model_sha256: Sha256
    """Of its file, by which it is known before it is loaded."""
    cannot_save: Annotated[str, Length(0, REASON_CHARACTERS_MAX)] = ""
    """Why states are of no use with it; empty where they are, or nobody has tried."""
    context_limit: Count | None = None
    """The largest context that the file was converted for."""


class Findings:
    """All of them."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}
        self.changed = False

    def of(self, model: Ingredients) -> Finding:
        """What is known of a loaded model."""
        fingerprint = model.digest_of_model()
        return self._found.get(fingerprint) or Finding(fingerprint, model.model_sha256)

    def of_file(self, sha256: str) -> Finding | None:
        """What was last found with a file, however it was loaded then."""
        same = (one for one in reversed(self._found.values()) if one.model_sha256 == sha256)
        return next(same, None)

    def note_saving(self, model: Ingredients, reason: str) -> None:
        """A loaded model cannot save states, or it can, when there is no reason."""
        self._put(replace(self.of(model), cannot_save=reason[:REASON_CHARACTERS_MAX]))

    def note_limit(self, model: Ingredients, context_limit: int | None) -> None:
        """A model was loaded, and its engine may have said which context it allows."""
        finding = self.of(model)
        self._put(replace(finding, context_limit=context_limit or finding.context_limit))

    def render(self) -> bytes:
        """The bytes of the file."""
        return (json.dumps({"findings": [asdict(one) for one in self._listed()]}) + "\n").encode()

    def read(self, data: bytes) -> None:
        """Take what a file says; nothing of it where it is damaged."""
        try:
            found = [shape.read(Finding, one) for one in json.loads(data)["findings"]]
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        self._found = {one.fingerprint: one for one in found}

    def _listed(self) -> list[Finding]:
        return list(self._found.values())

    def _put(self, finding: Finding) -> None:
        if self._listed()[-1:] == [finding]:
            return
        self._found.pop(finding.fingerprint, None)
        self._found[finding.fingerprint] = finding
        for old in self._listed()[:-FINDINGS_MAX]:
            del self._found[old.fingerprint]
        self.changed = True
