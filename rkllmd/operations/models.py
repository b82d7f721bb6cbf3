"""`model.*`, `embed`, `tokenize` and `logits`."""

import asyncio
import heapq
from array import array
from dataclasses import asdict, replace
from typing import Any

from rkllmd.errors import Code, RequestError
from rkllmd.operations.call import Call
from rkllmd.operations.reporting import reported
from rkllmd.operations.services import Services
from rkllmd.protocol.messages import (
    Embed,
    Logits,
    ModelList,
    ModelLoad,
    ModelShow,
    ModelUnload,
    Tokenize,
)
from rkllmd.registry.models import ModelEntry
from rkllmd.runs import Capabilities, Embedding, cannot
from rkllmd.scheduling.lane import Lane, Wish
from rkllmd.scheduling.turns import Priority


async def model_list(services: Services, request: ModelList, call: Call) -> dict[str, Any]:
    """The models."""
    return {"models": [shown(services, entry) for entry in services.registry.models.values()]}


async def model_show(services: Services, request: ModelShow, call: Call) -> dict[str, Any]:
    """One model, or all of them."""
    if request.model is None:
        return await model_list(services, ModelList(), call)
    return {"models": [shown(services, services.model(request.model))]}


async def model_load(services: Services, request: ModelLoad, call: Call) -> dict[str, Any]:
    """Load a model, also one whose last load failed."""
    entry = services.model(request.model)
    await reported(
        call,
        services.scheduler.load(entry),
        "load",
        lambda: services.scheduler.load_progress(entry.name),
    )
    return {"model": shown(services, entry)}


async def model_unload(services: Services, request: ModelUnload, call: Call) -> dict[str, Any]:
    """Unload a model."""
    entry = services.model(request.model)
    await services.scheduler.unload(entry.name)
    return {"model": shown(services, entry)}


async def embed(services: Services, request: Embed, call: Call) -> dict[str, Any]:
    """Vectors of texts."""
    entry = services.model(request.model)
    lane = await lane_of(services, entry, call)
    _require(lane, "embeddings")
    texts = (request.input,) if isinstance(request.input, str) else request.input
    vectors: list[Embedding] = []
    model = lane.model
    while len(vectors) < len(texts):
        # A turn for each text: whoever is more urgent does not wait for all of them.
        async with lane.turn(_wish(call)) as turn:
            if turn.model is not model:  # vectors of two models cannot be compared
                model, vectors = turn.model, []
            text = texts[len(vectors)]
            vectors.append(
                await turn.worker.embed(text, request.pooling, normalize=request.normalize)
            )
    return {
        "model": entry.name,
        "embeddings": [vector.values.tolist() for vector in vectors],
        "dimensions": len(vectors[0].values),
        "usage": {"prompt_tokens": sum(vector.tokens for vector in vectors)},
    }


async def tokenize(services: Services, request: Tokenize, call: Call) -> dict[str, Any]:
    """A text's tokens."""
    lane = await lane_of(services, services.model(request.model), call)
    _require(lane, "tokenizer")
    tokens = (await lane.prompt(request.text)).tokens.tolist()
    return {"tokens": tokens, "count": len(tokens)}


async def logits(services: Services, request: Logits, call: Call) -> dict[str, Any]:
    """The likeliest tokens behind a text."""
    entry = services.model(request.model)
    lane = await lane_of(services, entry, call)
    _require(lane, "logits")
    prompt = await lane.prompt(request.prompt)
    async with lane.turn(_wish(call)) as turn:
        made = await turn.worker.logits(prompt)
    return {
        "model": entry.name,
        "logits": await asyncio.to_thread(_likeliest, made.values, request.top),
        "vocabulary": len(made.values),
        "prompt_tokens": made.tokens,
    }


def _likeliest(values: "array[float]", top: int) -> list[dict[str, Any]]:
    tokens = heapq.nlargest(top, range(len(values)), key=values.__getitem__)
    return [{"token": token, "logit": values[token]} for token in tokens]


async def lane_of(services: Services, entry: ModelEntry, call: Call) -> Lane:
    """The lane of a model, with progress for the client while it is being loaded."""
    if lane := services.scheduler.loaded(entry.name):
        return lane
    return await reported(
        call,
        services.scheduler.lane(entry),
        "load",
        lambda: services.scheduler.load_progress(entry.name),
    )


def shown(services: Services, entry: ModelEntry) -> dict[str, Any]:
    """What is known of a model, for people and programs."""
    scheduler = services.scheduler
    lane, failure = scheduler.lanes.get(entry.name), scheduler.failures.get(entry.name)
    facts = lane.model.facts if lane is not None and lane.model is not None else None
    found = services.caches.findings.of_file(entry.identity.digest)
    cannot_save = services.caches.cannot_save(entry.name)
    if facts is None and found is not None:
        cannot_save = found.cannot_save
    state, reason = "unloaded", ""
    if entry.broken is not None:
        state, reason = "broken", entry.broken
    elif lane is not None:
        state, reason = str(lane.supervisor.state), lane.supervisor.reason
    elif failure is not None:
        state, reason = "failed", failure[1]
    return {
        "name": entry.name,
        "file": str(entry.file),
        "size": entry.size_bytes,
        "modified_at": entry.identity.mtime_ns / 1e9,
        "digest": entry.identity.digest,
        "engine": entry.engine,
        "state": state,
        "reason": reason,
        "default": entry.name == services.default_model(),
        "context": facts.context_tokens if facts else entry.settings.context,
        "memory": facts.memory_bytes if facts else None,
        "context_limit": found.context_limit if found else None,
        "capabilities": None if facts is None else _abilities(facts.capabilities, cannot_save),
        "architecture": facts.architecture if facts else None,
        "parameters": facts.parameters if facts else None,
        "load_ms": facts.load_ms if facts else None,
        "prefilled_tokens": lane.supervisor.prefilled_tokens if lane is not None else None,
        "prefill_tokens_per_s": _speed(lane.pace.token_s if lane else 0),
        "decode_tokens_per_s": _speed(lane.pace.answer_token_s if lane else 0),
        "languages": list(entry.settings.languages),
        "notes": list(facts.notes) if facts else [],
        "warnings": [*entry.warnings, *(facts.warnings if facts else ())],
        "cannot_save": cannot_save,
    }  # fmt: skip


def _abilities(capabilities: Capabilities, cannot_save: str) -> dict[str, Any]:
    if cannot_save:
        capabilities = replace(capabilities, state_files=cannot(cannot_save))
    return {
        name: {"ability": str(able["ability"]), "reason": able["reason"]}
        for name, able in asdict(capabilities).items()
    }


def _speed(token_s: float) -> float | None:
    """Tokens in a second; None while nothing was measured since the model was loaded."""
    return round(1 / token_s, 2) if token_s else None


def _require(lane: Lane, ability: str) -> None:
    assert lane.model is not None, "a lane that was handed out has its model"
    capability = getattr(lane.model.facts.capabilities, ability)
    if not capability:
        raise RequestError(
            Code.UNSUPPORTED,
            f"{lane.model.entry.name} has no {ability}: {capability.reason}",
            capability=ability,
        )


def _wish(call: Call) -> Wish:
    return Wish(Priority.NORMAL, call.caller.user, call.caller.connection_id, call.stop)
