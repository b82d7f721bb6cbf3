"""`cache.*`: what is stored, and making, proving and deleting it."""

import time
from typing import Any

from rkllmd.errors import Code, NotFound, RequestError, RkllmdError
from rkllmd.ids import LEARNED, CacheName, ModelName
from rkllmd.operations.call import Call
from rkllmd.operations.models import lane_of
from rkllmd.operations.reporting import reported
from rkllmd.operations.services import Services
from rkllmd.promptcache.entry import Key
from rkllmd.protocol.messages import (
    CacheBuild,
    CacheCreate,
    CacheDelete,
    CacheList,
    CacheShow,
    CacheVerify,
)
from rkllmd.reconcile import plan
from rkllmd.reconcile.reconciler import Report

_SHORT = ("content", "verification", "failure")


async def cache_list(services: Services, request: CacheList, call: Call) -> dict[str, Any]:
    """The entries, in short."""
    found = services.caches.listing(_model(services, request.model))
    return {"caches": [{k: v for k, v in one.items() if k not in _SHORT} for one in found]}


async def cache_show(services: Services, request: CacheShow, call: Call) -> dict[str, Any]:
    """Entries with everything that is known of them."""
    found = services.caches.listing(_model(services, request.model))
    if request.name is not None:
        found = [one for one in found if one["name"] == request.name]
        if not found:
            raise NotFound(Code.UNKNOWN_CACHE, f"there is no cache {request.name!r}")
    return {"caches": found}


async def cache_create(services: Services, request: CacheCreate, call: Call) -> dict[str, Any]:
    """Keep a prompt, and build its state."""
    entry = services.model(request.model)
    key: Key = (entry.name, CacheName(request.name))
    if request.name.startswith(LEARNED):
        raise RequestError(
            Code.BAD_REQUEST,
            f"name: found {request.name!r}, allowed: one that does not begin with {LEARNED!r}",
        )
    if key[1] in services.caches.prompts.of(entry.name):
        raise RequestError(
            Code.CACHE_EXISTS,
            f"the prompt {request.name!r} is a file of the administrator's; change it there",
        )
    await lane_of(services, entry, call)
    await services.reconciler.in_turn(
        lambda store: store.put_prompt(
            *key, request.prompt, time.time(), origin=_origin(call), overwrite=request.overwrite
        )
    )
    report = await _pass(services, call, None)
    if key in report.failed:
        raise report.failed[key]
    return {"cache": _one(services, key)}


async def cache_build(services: Services, request: CacheBuild, call: Call) -> dict[str, Any]:
    """Build what is not there, or all that is asked for when forced.

    What failed before is tried at once: whoever asks may have mended the reason.
    """
    entry = services.model(request.model)
    await lane_of(services, entry, call)
    names = _names(services, entry.name, request.name)
    built, failed = set[Key](), dict[Key, RkllmdError]()
    steps: list[plan.Step | None] = [
        plan.Build(entry.name, name, "it was asked for")
        for name in names
        if request.force or services.caches.failed((entry.name, name))
    ]
    for step in steps or [None]:
        report = await _pass(services, call, step)
        built |= set(report.built)
        failed |= report.failed
    mine = [(entry.name, name) for name in names]
    return {
        "built": [name for model, name in mine if (model, name) in built],
        "skipped": [n for m, n in mine if (m, n) not in built and (m, n) not in failed],
        "failed": [
            {"name": name, "code": str(failed[model, name].code),
             "message": failed[model, name].message}
            for model, name in mine
            if (model, name) in failed
        ],
    }  # fmt: skip


async def cache_delete(services: Services, request: CacheDelete, call: Call) -> dict[str, Any]:
    """Delete an entry; a declared prompt's is built again."""
    model, name = services.model(request.model).name, CacheName(request.name)
    if (model, name) not in services.caches.view.entries:
        raise NotFound(Code.UNKNOWN_CACHE, f"there is no cache {model}/{name}")
    await services.reconciler.in_turn(lambda store: store.delete(model, name))
    services.reconciler.trigger()
    return {"rebuilt": name in services.caches.prompts.of(model)}


async def cache_verify(services: Services, request: CacheVerify, call: Call) -> dict[str, Any]:
    """Prove entries again."""
    wanted = _model(services, request.model)
    verified, broken = list[str](), list[dict[str, str]]()
    keys = [
        key
        for key, entry in services.caches.view.entries.items()
        if (wanted is None or key[0] == wanted)
        and (request.name is None or key[1] == request.name)
        and key in services.caches.view.paths
    ]
    if request.name is not None and not keys:
        raise NotFound(Code.UNKNOWN_CACHE, f"there is no state of a cache {request.name!r}")
    for model, name in keys:
        await lane_of(services, services.model(model), call)
        report = await _pass(services, call, plan.Verify(model, name, "it was asked for"))
        if (model, name) in report.verified:
            verified.append(f"{model}/{name}")
        else:
            error = report.failed.get((model, name))
            reason = error.message if error else _one(services, (model, name)).get("reason", "")
            broken.append({"cache": f"{model}/{name}", "reason": reason})
    return {"verified": verified, "broken": broken}


def _model(services: Services, name: str | None) -> ModelName | None:
    return None if name is None else services.model(name).name


def _names(services: Services, model: ModelName, name: str | None) -> list[CacheName]:
    known = {key[1] for key in services.caches.view.entries if key[0] == model}
    known |= set(services.caches.wanted(model))
    if name is None:
        return sorted(known)
    if name not in known:
        raise NotFound(Code.UNKNOWN_CACHE, f"there is no cache {model}/{name}")
    return [CacheName(name)]


def _one(services: Services, key: Key) -> dict[str, Any]:
    found = [one for one in services.caches.listing(key[0]) if one["name"] == key[1]]
    if not found:
        raise NotFound(Code.UNKNOWN_CACHE, f"there is no cache {key[0]}/{key[1]}")
    return found[0]


async def _pass(services: Services, call: Call, force: plan.Step | None) -> Report:
    """A pass of the reconciler, begun again whenever something more urgent took the worker."""
    if not services.caches.in_order:
        why = services.caches.out_of_order or "they are switched off by cache.enabled"
        raise RequestError(Code.UNSUPPORTED, f"there are no caches: {why}")
    report = Report(gave_way=True)
    while report.gave_way:
        report = await reported(
            call, services.reconciler.reconcile(force), "build", services.reconciler.progress
        )
    return report


def _origin(call: Call) -> str:
    return f"{call.caller.transport} {call.caller.user}"
