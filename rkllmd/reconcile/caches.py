"""What is stored for whom, kept in memory so that a request never waits for the disk.

`reconciler` changes the store and then calls `refresh`; everything else here is a look-up on the
loop.

While a changed prompt is being built, the text that the stored state was made from goes on serving
(`prompt_text`), so that requests stay fast; the new text serves from the moment its state is in
place. Where there is no usable state the newest text serves at once, uncached.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rkllmd.config import settings
from rkllmd.ids import CacheName, ModelName
from rkllmd.promptcache.entry import Damaged, Entry, Failure, Key, Snapshot
from rkllmd.promptcache.findings import Findings
from rkllmd.promptcache.fingerprint import AdapterFile, Ingredients, digest_json, digest_text
from rkllmd.promptcache.index import PrefixIndex, Stored
from rkllmd.promptcache.learn import Changing, Learn, Learner, Sighting
from rkllmd.promptcache.store import Store
from rkllmd.promptcache.usage import Usage
from rkllmd.protocol.messages import Tool
from rkllmd.registry.loaded import LoadedModel
from rkllmd.registry.prompts import Prompts
from rkllmd.runs import Prompt

journal = logging.getLogger("rkllmd.caches")

TEXT_UNKNOWN = "0" * 64


@dataclass(frozen=True, slots=True)
class View:
    """What the store held when it was last looked at."""

    entries: Mapping[Key, Entry | Damaged] = field(default_factory=dict)
    paths: Mapping[Key, Path] = field(default_factory=dict)
    texts: Mapping[Key, str] = field(default_factory=dict)
    """The texts that states were made from."""
    usage: Mapping[Key, Usage] = field(default_factory=dict)
    api_prompts: Mapping[Key, str] = field(default_factory=dict)
    bytes_used: int = 0
    free_bytes: int = 0


def look(store: Store) -> View:
    """Read the store. Blocks."""
    entries = {entry.key: entry for entry in store.entries()}
    paths = {key: path for key in entries if (path := store.state_path(*key)) is not None}
    texts = {key: text for key in entries if (text := store.text(*key)) is not None}
    prompts = {
        (model, name): text
        for model in store.models()
        for name, text in store.prompts(model).items()
    }
    usage = {key: store.usage(*key) for key in entries}
    return View(entries, paths, texts, usage, prompts, store.bytes_used(), store.free_bytes())


def ingredients(
    model: LoadedModel,
    prefix_text: str | None,
    tools: Sequence[Tool] = (),
    *,
    thinking: bool = False,
) -> Ingredients:
    """What makes the state of a loaded model after a prefix different from any other."""
    settings_of_lora = model.entry.settings.lora
    return Ingredients(
        engine=model.facts.engine,
        engine_version=model.facts.engine_version,
        model_bytes=model.entry.identity.size_bytes,
        model_sha256=model.entry.identity.digest,
        context_tokens=model.facts.context_tokens,
        lora=tuple(
            AdapterFile(file.digest, adapter.scale)
            for file, adapter in zip(model.entry.adapters, settings_of_lora, strict=True)
        ),
        template_sha256=digest_text(model.template_source),
        tools_sha256=digest_json([str(tool) for tool in tools]) if tools else None,
        thinking=thinking,
        prefix_sha256=TEXT_UNKNOWN if prefix_text is None else digest_text(prefix_text),
    )


def cannot_save(model: LoadedModel, findings: Findings) -> str:
    """Why a model's states cannot be kept: its engine says so, or it was found out by trying."""
    able = model.facts.capabilities.state_files
    return findings.of(ingredients(model, None)).cannot_save if able else able.reason


def usable(entry: Entry | Damaged | None, of_model: Ingredients) -> Snapshot | None:
    """The state of an entry, where it was proved and fits the loaded model."""
    if not isinstance(entry, Entry) or entry.snapshot is None or not entry.usable:
        return None
    return entry.snapshot if entry.snapshot.ingredients.fits_model_of(of_model) else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A prompt that should have a state."""

    text: str
    """The newest one."""
    origin: str
    declared: bool


@dataclass(frozen=True, slots=True)
class Lesson:
    """A client's prompt that is worth a state."""

    learn: Learn
    ingredients: Ingredients


class Caches:
    """The look-ups."""

    def __init__(
        self, config: settings.Cache, on_change: Callable[[], None], findings: Findings
    ) -> None:
        self.config = config
        self.findings = findings
        self.view = View()
        self.prompts = Prompts({}, {}, ())
        self.models: dict[ModelName, LoadedModel] = {}
        """Those that are loaded."""
        self.lessons: dict[Key, Lesson] = {}
        """Learned prompts that wait for their state."""
        self.warnings: dict[str, str] = {}
        """What clients do that keeps caches from working, by client."""
        self.hits: list[tuple[Key, float]] = []
        """Uses that the store has not been told of yet."""
        self.suspects: dict[Key, str] = {}
        """Entries whose state an engine could not load."""
        self.deaths: dict[Key, int] = {}
        """How many workers died while they loaded an entry's state, or while it was proved."""
        self.failures: dict[Key, Failure] = {}
        """Builds that failed; the store knows them too, where the disk had room for that."""
        self.out_of_order = ""
        """Why nothing can be stored at all."""
        self._on_change = on_change
        self._learner = Learner(config.learn_after, config.learn_tokens_min)
        self._indexes: dict[ModelName, tuple[LoadedModel, View, PrefixIndex]] = {}

    @property
    def in_order(self) -> bool:
        """Whether states are stored and used."""
        return self.config.enabled and not self.out_of_order

    @property
    def notes(self) -> list[str]:
        """What an administrator should know."""
        hiding = [
            f"{prompt.source} hides the prompt {name} that a client made for {model}"
            for (model, name), entry in self.view.entries.items()
            if isinstance(entry, Entry) and (entry.source == "api" or entry.hidden_text is not None)
            if (prompt := self.prompts.of(model).get(name)) is not None
        ]
        return [*hiding, *self.warnings.values()]

    def find(self, model: LoadedModel, prompt: Prompt, only: CacheName | None) -> Stored | None:
        """The longest stored prefix that a prompt begins with."""
        if not self.in_order:
            return None
        index = self._index(model)
        if only is None:
            return index.longest(prompt)
        one = index.named(only)
        return one if one is not None and prompt.starts_with(one.prefix) else None

    def named(self, model: LoadedModel, name: CacheName) -> Stored | None:
        """The stored prefix of that name."""
        return self._index(model).named(name) if self.in_order else None

    def wanted(self, model: ModelName) -> dict[CacheName, Wanted]:
        """The prompts of a model, by name; declared ones go before those of clients."""
        found = {
            name: Wanted(text, "api", declared=False)
            for (of_model, name), text in self.view.api_prompts.items()
            if of_model == model
        }
        for name, prompt in self.prompts.of(model).items():
            found[name] = Wanted(prompt.text, str(prompt.source), declared=True)
        return found

    def prompt_text(self, model: ModelName, name: CacheName) -> str | None:
        """The text that serves now."""
        wanted = self.wanted(model).get(name)
        if wanted is None:
            return None
        key = (model, name)
        before, loaded = self.view.texts.get(key), self.models.get(model)
        if before is None or before == wanted.text or loaded is None or not self.in_order:
            return wanted.text
        snapshot = usable(self.view.entries.get(key), ingredients(loaded, None))
        if snapshot is None:
            return wanted.text
        new = ingredients(loaded, loaded.template.render_prefix(wanted.text))
        only_the_text = replace(new, prefix_sha256=snapshot.ingredients.prefix_sha256)
        return before if only_the_text == snapshot.ingredients else wanted.text

    def cannot_save(self, model: ModelName) -> str:
        """Why a loaded model's states cannot be kept; empty where they can, or nobody has tried."""
        loaded = self.models.get(model)
        return cannot_save(loaded, self.findings) if loaded is not None else ""

    def failed(self, key: Key) -> bool:
        """Whether the last build of an entry failed."""
        entry = self.view.entries.get(key)
        return key in self.failures or (isinstance(entry, Entry) and entry.failure is not None)

    def used(self, model: ModelName, name: CacheName) -> None:
        """A state was really reused."""
        self.hits.append(((model, name), time.time()))

    def found_broken(self, model: ModelName, name: CacheName, reason: str) -> None:
        """A state could not be loaded; it is not offered again until it was proved or rebuilt."""
        journal.warning("the cache %s/%s is not used: %s", model, name, reason)
        self.suspects[model, name] = reason
        self._indexes.pop(model, None)
        self._on_change()

    def killed_worker(self, model: ModelName, name: CacheName) -> None:
        """A worker died while it loaded a state."""
        self.deaths[model, name] = self.deaths.get((model, name), 0) + 1
        self._on_change()

    def saw(
        self, model: LoadedModel, client: str, text: str, prefix_text: str, prefix: Prompt,
        tools: Sequence[Tool], *, thinking: bool,
    ) -> None:  # fmt: skip
        """A request brought its own system prompt, and no stored state has all of its prefix."""
        if not self.in_order or not self.config.learned_max or self.cannot_save(model.entry.name):
            return
        tokens = prefix.units if prefix.kind == "tokens" else prefix.units // 4
        lesson = self._learner.saw(Sighting(model.entry.name, client, text, prefix, tokens))
        if isinstance(lesson, Changing):
            journal.warning("%s", lesson)
            self.warnings[client] = str(lesson)
        elif lesson is not None:
            made_of = ingredients(model, prefix_text, tools, thinking=thinking)
            self.lessons[lesson.model, lesson.name] = Lesson(lesson, made_of)
            self._on_change()

    def take(self, view: View) -> None:
        """The store was read again. What was learned and is gone may be learned again."""
        for key, entry in self.view.entries.items():
            if key not in view.entries and isinstance(entry, Entry) and entry.snapshot is not None:
                self._learner.forget(key[0], entry.snapshot.prefix.prompt)
        self.view = view
        self._indexes.clear()

    def listing(self, model: ModelName | None = None) -> list[dict[str, Any]]:
        """What is known of every entry, for people and programs."""
        found = [
            _shown(entry, self.suspects.get(key), self.view.texts.get(key), self.failures.get(key))
            | self._used(key)
            for key, entry in self.view.entries.items()
        ]
        found += [
            {"model": key[0], "name": key[1], "state": "broken", "reason": failure.reason,
             "failure": _shown_failure(failure)}
            for key, failure in self.failures.items()
            if key not in self.view.entries
        ]  # fmt: skip
        found = [one for one in found if model is None or one["model"] == model]
        return sorted(found, key=lambda one: (one["model"], one["name"]))

    def _used(self, key: Key) -> dict[str, Any]:
        """How often and how lately, with what the store has not been told of yet."""
        usage = self.view.usage.get(key, Usage())
        lately = [at for of_key, at in self.hits if of_key == key]
        last = max([usage.last_used_at, *lately])
        return {
            "hits": usage.hits + len(lately),
            "last_used_at": last or None,
            "bytes_written": usage.bytes_written,
        }

    def _index(self, model: LoadedModel) -> PrefixIndex:
        name = model.entry.name
        known = self._indexes.get(name)
        if known is None or known[0] is not model or known[1] is not self.view:
            known = self._indexes[name] = (model, self.view, self._make_index(model))
        return known[2]

    def _make_index(self, model: LoadedModel) -> PrefixIndex:
        of_model = ingredients(model, None)
        found = []
        for key, entry in self.view.entries.items():
            if key[0] != model.entry.name or key in self.suspects or key not in self.view.paths:
                continue
            snapshot = usable(entry, of_model)
            if snapshot is not None:
                path = self.view.paths[key]
                found.append(Stored(key[1], snapshot.prefix.prompt, snapshot.tokens, path))
        return PrefixIndex(found)


def _shown(
    entry: Entry | Damaged, suspect: str | None, text: str | None, failure: Failure | None
) -> dict[str, Any]:
    model, name = entry.key
    if isinstance(entry, Damaged):
        return {"model": model, "name": name, "state": "broken", "reason": entry.reason}
    snapshot, proof, failure = entry.snapshot, entry.verification, failure or entry.failure
    return {
        "model": model,
        "name": name,
        "state": "broken" if suspect else entry.state,
        "reason": suspect or entry.reason or (failure.reason if failure else ""),
        "source": entry.source,
        "origin": entry.origin,
        "created_at": entry.created_at,
        "content_length": entry.content_length,
        "content": text,
        "tokens": snapshot.tokens if snapshot else None,
        "size": snapshot.size if snapshot else 0,
        "built_at": snapshot.built_at if snapshot else None,
        "build_ms": snapshot.build_ms if snapshot else None,
        "first_token_ms": snapshot.first_token_ms if snapshot else None,
        "first_token_cached_ms": snapshot.first_token_cached_ms if snapshot else None,
        "fingerprint": snapshot.fingerprint if snapshot else None,
        "pinned": entry.pinned,
        "verification": None if proof is None else {
            "at": proof.at, "canaries": proof.canaries, "counts_fit": proof.counts_fit,
            "words_agree": proof.words_agree, "note": proof.note,
        },
        "failure": None if failure is None else _shown_failure(failure),
    }  # fmt: skip


def _shown_failure(failure: Failure) -> dict[str, Any]:
    return {
        "at": failure.at,
        "attempts": failure.attempts,
        "reason": failure.reason,
        "advice": failure.advice,
    }
