"""From what should be and what is to the steps between them. Pure and idempotent.

`plan` compares desired models and prompts with stored entries. Doing its steps and planning again
gives no steps; one that was lost or failed is planned again, in time. Which models are loaded is
not its business: a prompt whose model is not is decided about when it is.

Steps come in the order they are to be done: what changes names, then what must not be used any
more, then proving and building, the default model before the others and its `system` before other
prompts. There is no step for the swap: `Build` stages, verifies and only then commits,
so the state before it serves until then, where it is usable and fits the model that is loaded.

What happens to an entry whose prompt is wanted and whose fingerprint is known:

    entry                                    then
    none, damaged, without state             Build
    another fingerprint                      MarkStale where it was good, and Build
    verified                                 nothing; Verify where the model file's time changed
    unverified                               Verify
    stale with the same fingerprint          Verify: what it was made from has come back
    broken                                   Build
    quarantined, or evicted                  nothing, and a note
    its loading killed workers               Quarantine

A failed build is remembered in the entry with the fingerprint it was for and tried again after a
growing pause, `attempts_max` times in all, restarts or not. Another fingerprint is tried at once.
What the disk refused is remembered until the next start only, and tried again for ever.

Entries whose prompt is not wanted: declared ones are deleted; learned ones are kept, and proved, as
long as they fit their model and prove good; prompts of clients are theirs, and only they delete
them. Nothing is deleted while the look at the disk was incomplete.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rkllmd.ids import LEARNED, CacheName, ModelName
from rkllmd.promptcache.entry import Damaged, Entry, Failure, Key, Source
from rkllmd.promptcache.fingerprint import Ingredients, difference

SYSTEM = CacheName("system")
ATTEMPTS_MAX = 5
"""So many times one build is tried; what the disk refuses is tried for ever, but seldom."""
DEATHS_MAX = 2
"""So many workers may die while a state is loaded before it is never loaded again."""


@dataclass(frozen=True, slots=True)
class WantedPrompt:
    """A prompt that should have a verified entry."""

    name: CacheName
    source: Source
    ingredients: Ingredients | None
    """None until the model was loaded once and its template is known."""


@dataclass(frozen=True, slots=True)
class WantedModel:
    """A model that is on the disk."""

    name: ModelName
    sha256: str
    """Of its file, as in the ingredients."""
    mtime_ns: int
    prompts: tuple[WantedPrompt, ...]
    cannot_save: str = ""
    """Why its engine cannot save states; empty where it can or has not been tried."""


@dataclass(frozen=True, slots=True)
class Desired:
    """What should be."""

    models: tuple[WantedModel, ...]
    default: ModelName | None
    complete: bool = True
    """Whether all folders could be read; if not, nothing is deleted or renamed."""


@dataclass(frozen=True, slots=True)
class Actual:
    """What is."""

    entries: tuple[Entry | Damaged, ...]
    failures: Mapping[Key, Failure] = field(default_factory=dict)
    """Failed builds that the disk had no room to remember."""
    deaths: Mapping[Key, int] = field(default_factory=dict)
    """Workers that died while they loaded a state, since it was built."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed build is tried again."""

    attempts_max: int = ATTEMPTS_MAX
    pause_s: float = 60.0
    factor: float = 4.0

    def again_at(self, failure: Failure) -> float | None:
        """When the next attempt is due; None for never."""
        if failure.attempts >= self.attempts_max:
            return None
        return failure.at + self.pause_s * self.factor ** (failure.attempts - 1)


@dataclass(frozen=True, slots=True)
class Rename:
    """All entries of a model go to its new name."""

    old: ModelName
    new: ModelName


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Never load this state again."""

    model: ModelName
    name: CacheName
    reason: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove an entry."""

    model: ModelName
    name: CacheName
    reason: str


@dataclass(frozen=True, slots=True)
class MarkStale:
    """Say that an entry is not what it should be any more."""

    model: ModelName
    name: CacheName
    reason: str


@dataclass(frozen=True, slots=True)
class Verify:
    """Prove a state with canaries; then it is verified or broken, with the model file's time."""

    model: ModelName
    name: CacheName
    reason: str


@dataclass(frozen=True, slots=True)
class Build:
    """Make a state aside, prove it, and only then put it in place."""

    model: ModelName
    name: CacheName
    reason: str


Step = Rename | Quarantine | Delete | MarkStale | Verify | Build

_ORDER: tuple[type[Step], ...] = (Rename, Quarantine, Delete, MarkStale)


@dataclass(frozen=True, slots=True)
class Note:
    """Why nothing is done about something."""

    model: ModelName
    name: CacheName | None
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, what not and why, and when to look again at the latest."""

    steps: tuple[Step, ...] = ()
    notes: tuple[Note, ...] = ()
    again_at: float | None = None


def plan(desired: Desired, actual: Actual, now: float, policy: RetryPolicy | None = None) -> Plan:
    """The steps from what is to what should be."""
    planner = _Planner(now, policy or RetryPolicy(), actual.failures)
    entries = planner.rename(desired, actual.entries)
    wanted = {model.name: model for model in desired.models}
    stored = {entry.key: entry for entry in entries}
    for model in sorted(desired.models, key=lambda one: (one.name != desired.default, one.name)):
        for prompt in sorted(model.prompts, key=lambda one: (one.name != SYSTEM, one.name)):
            key = model.name, prompt.name
            planner.reach(model, prompt, stored.pop(key, None), actual.deaths.get(key, 0))
    for entry in stored.values():
        deaths = actual.deaths.get(entry.key, 0)
        planner.keep_or_delete(entry, wanted.get(entry.key[0]), deaths, complete=desired.complete)
    return planner.result()


class _Planner:
    """Collects steps."""

    def __init__(self, now: float, policy: RetryPolicy, failures: Mapping[Key, Failure]) -> None:
        self._now = now
        self._policy = policy
        self._failures = failures
        self._steps: list[Step] = []
        self._notes: list[Note] = []
        self._again: list[float] = []

    def result(self) -> Plan:
        """The steps in the order of their kinds, and within one kind as they were found."""
        kinds = len(_ORDER)
        order = {kind: place for place, kind in enumerate(_ORDER)}
        steps = sorted(self._steps, key=lambda step: order.get(type(step), kinds))
        return Plan(tuple(steps), tuple(self._notes), min(self._again, default=None))

    def rename(self, desired: Desired, entries: Sequence[Entry | Damaged]) -> list[Entry | Damaged]:
        """Find models that are new and entries whose model is gone, and that are the same file."""
        result = list(entries)
        if not desired.complete:
            return result
        names = {model.name for model in desired.models}
        for model in sorted(desired.models, key=lambda one: one.name):
            homeless = {one.key[0] for one in result if _model_sha256(one) == model.sha256} - names
            if homeless and all(one.key[0] != model.name for one in result):
                old = min(homeless)
                self._steps.append(Rename(old, model.name))
                result = [_of_model(one, old, model.name) for one in result]
        return result

    def reach(
        self, model: WantedModel, prompt: WantedPrompt, stored: Entry | Damaged | None, deaths: int
    ) -> None:
        """Bring one wanted prompt to a verified entry."""
        key = model.name, prompt.name
        if prompt.ingredients is None:
            self._notes.append(Note(*key, "decided when the model has been loaded"))
            return
        if isinstance(stored, Entry) and self._quarantine(stored, deaths):
            stored = replace(stored, state="quarantined", reason=_deadly(deaths))
        stale = _staleness(stored, prompt.ingredients)
        if stale:
            self._steps.append(MarkStale(*key, stale))
        if model.cannot_save:
            self._notes.append(Note(*key, model.cannot_save))
        elif not isinstance(stored, Entry):
            self._build(key, prompt.ingredients, None, stored.reason if stored else "it is new")
        elif stored.evicted:
            self._notes.append(Note(*key, stored.reason))
        elif _is_of(stored, prompt.ingredients):
            self._prove(model, stored)
            if stored.state == "broken":
                reason = f"it is broken: {stored.reason}"
                self._build(key, prompt.ingredients, stored.failure, reason)
        else:
            self._build(key, prompt.ingredients, stored.failure, stale or stored.reason)

    def _quarantine(self, entry: Entry, deaths: int) -> bool:
        if deaths < DEATHS_MAX or entry.snapshot is None or entry.state == "quarantined":
            return False
        self._steps.append(Quarantine(*entry.key, _deadly(deaths)))
        return True

    def _prove(self, model: WantedModel, entry: Entry) -> None:
        """The state was made from the right things; has it been proved?"""
        proof = entry.verification
        if entry.state == "quarantined":
            self._notes.append(Note(*entry.key, f"quarantined: {entry.reason}"))
        elif entry.state in {"unverified", "stale"}:
            self._steps.append(Verify(*entry.key, f"it is {entry.state}"))
        elif entry.state == "verified" and (not proof or proof.model_mtime_ns != model.mtime_ns):
            self._steps.append(Verify(*entry.key, "the model file was written again"))

    def _build(
        self, key: Key, ingredients: Ingredients, failure: Failure | None, reason: str
    ) -> None:
        failure = self._failures.get(key, failure)
        if failure is not None and failure.fingerprint == ingredients.digest():
            again_at = self._policy.again_at(failure)
            if again_at is None:
                self._notes.append(
                    Note(*key, f"given up after {failure.attempts} attempts: {failure.reason}")
                )
                return
            if failure.at <= self._now < again_at:  # a later failure: the clock was set back
                self._again.append(again_at)
                self._notes.append(Note(*key, f"tried again later: {failure.reason}"))
                return
        self._steps.append(Build(*key, reason))

    def keep_or_delete(
        self, stored: Entry | Damaged, model: WantedModel | None, deaths: int, *, complete: bool
    ) -> None:
        """Decide about an entry whose prompt nobody declares."""
        reason = _why_delete(stored, model)
        if reason and complete:
            self._steps.append(Delete(*stored.key, reason))
        elif isinstance(stored, Damaged):
            self._notes.append(Note(*stored.key, stored.reason))
        elif stored.source == "learned" and model and not reason and not model.cannot_save:
            self._keep_learned(model, stored, deaths, complete=complete)

    def _keep_learned(
        self, model: WantedModel, entry: Entry, deaths: int, *, complete: bool
    ) -> None:
        if entry.state == "broken" and complete:
            self._steps.append(Delete(*entry.key, f"it is broken: {entry.reason}"))
        elif not self._quarantine(entry, deaths):
            self._prove(model, entry)


def _deadly(deaths: int) -> str:
    return f"{deaths} workers died while they loaded it"


def _why_delete(stored: Entry | Damaged, model: WantedModel | None) -> str:
    entry = stored if isinstance(stored, Entry) else stored.entry
    source = entry.source if entry else _source_by_name(stored.key[1])
    if source is None or source == "api":
        return ""
    if model is None:
        return "its model is gone"
    if source == "declared":
        return "its prompt is gone"
    if isinstance(stored, Damaged):
        return stored.reason
    return "" if _fits(stored, model) else "it does not fit its model any more"


def _fits(learned: Entry, model: WantedModel) -> bool:
    """Whether a learned state can be of use; yes where nothing is known of the model yet."""
    if learned.snapshot is None:
        return False
    own = learned.snapshot.ingredients
    known = next((one.ingredients for one in model.prompts if one.ingredients), None)
    return known is None or (
        own.fits_model_of(known) and own.template_sha256 == known.template_sha256
    )


def _source_by_name(name: CacheName) -> Source | None:
    return "learned" if name.startswith(LEARNED) else None


def _is_of(entry: Entry, ingredients: Ingredients) -> bool:
    return entry.snapshot is not None and entry.snapshot.fingerprint == ingredients.digest()


def _staleness(stored: Entry | Damaged | None, ingredients: Ingredients) -> str:
    """Why an entry has to be marked as stale; empty where not, or where it says so already."""
    if not isinstance(stored, Entry) or stored.snapshot is None:
        return ""
    if stored.state in {"broken", "quarantined"}:
        return ""
    reason = difference(stored.snapshot.ingredients, ingredients)
    if not reason or (stored.state, stored.reason) == ("stale", reason):
        return ""
    return reason


def _model_sha256(stored: Entry | Damaged) -> str | None:
    entry = stored if isinstance(stored, Entry) else stored.entry
    return entry.snapshot.ingredients.model_sha256 if entry and entry.snapshot else None


def _of_model(stored: Entry | Damaged, old: ModelName, new: ModelName) -> Entry | Damaged:
    return replace(stored, model_name=new) if stored.key[0] == old else stored
