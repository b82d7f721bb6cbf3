"""What should be stored: the prompts of loaded models, what their states are made from, entries."""

import time
from dataclasses import dataclass, replace

from rkllmd.errors import Code, NotFound
from rkllmd.promptcache.entry import Entry, Key, Prefix, Snapshot, Source, Verification
from rkllmd.promptcache.fingerprint import Ingredients
from rkllmd.reconcile.building import Built, Proof
from rkllmd.reconcile.caches import Caches, ingredients
from rkllmd.registry.loaded import LoadedModel
from rkllmd.runs import Prompt


@dataclass(frozen=True, slots=True)
class Target:
    """A prompt that should have a state, and everything that the state is made from."""

    key: Key
    model: LoadedModel
    source: Source
    text: str
    origin: str
    prefix: str | Prompt
    """Rendered, and in the engine's form where that is known already."""
    ingredients: Ingredients


def targets(caches: Caches) -> dict[Key, Target]:
    """Every prompt of a loaded model that should have a state."""
    found = {}
    for name, model in caches.models.items():
        for cache, wanted in caches.wanted(name).items():
            prefix = model.template.render_prefix(wanted.text)
            source: Source = "declared" if wanted.declared else "api"
            found[name, cache] = Target(
                (name, cache), model, source, wanted.text, wanted.origin, prefix,
                ingredients(model, prefix),
            )  # fmt: skip
    for key, lesson in caches.lessons.items():
        of_lesson = caches.models.get(key[0])
        if of_lesson is not None and lesson.ingredients.fits_model_of(ingredients(of_lesson, None)):
            learn = lesson.learn
            found[key] = Target(
                key, of_lesson, "learned", learn.text, learn.client, learn.prefix,
                lesson.ingredients,
            )  # fmt: skip
    return found


def target_of(caches: Caches, key: Key) -> Target:
    """What is to be built for a key; a learned state is built again from what it was."""
    target = targets(caches).get(key)
    if target is not None:
        return target
    entry, model = caches.view.entries.get(key), caches.models.get(key[0])
    text = caches.view.texts.get(key)
    if not isinstance(entry, Entry) or entry.snapshot is None or not model or text is None:
        raise NotFound(Code.UNKNOWN_CACHE, f"there is no cache {key[0]}/{key[1]} to build")
    snapshot = entry.snapshot
    return Target(
        key, model, entry.source, text, entry.origin, snapshot.prefix.prompt,
        replace(ingredients(model, None), prefix_sha256=snapshot.ingredients.prefix_sha256,
                tools_sha256=snapshot.ingredients.tools_sha256,
                thinking=snapshot.ingredients.thinking),
    )  # fmt: skip


def bare_entry(target: Target) -> Entry:
    model, name = target.key
    return Entry(
        model_name=model,
        cache_name=name,
        created_at=time.time(),
        source=target.source,
        origin=target.origin,
        state="unverified",
    )


def new_entry(target: Target, prefix: Prompt, built: Built) -> Entry:
    return replace(
        bare_entry(target),
        state="verified",
        verification=verification(built.proof, target.model),
        snapshot=Snapshot(
            fingerprint=target.ingredients.digest(),
            ingredients=target.ingredients,
            prefix=Prefix.of(prefix),
            tokens=built.tokens,
            built_at=time.time(),
            build_ms=built.build_ms,
            first_token_ms=built.proof.first_token_ms,
            first_token_cached_ms=built.proof.first_token_cached_ms,
        ),
    )


def verification(proof: Proof, model: LoadedModel) -> Verification:
    return Verification(
        at=time.time(),
        model_mtime_ns=model.entry.identity.mtime_ns,
        canaries=proof.canaries,
        counts_fit=proof.counts_fit,
        words_agree=proof.words_agree,
        note=proof.note,
    )
