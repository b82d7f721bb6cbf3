"""cache list, show, create, build, delete and verify."""

import time
from typing import Any

from rkllmd.cli.ctl.command import Context
from rkllmd.cli.ctl.replies import ask, facts, read_text, say
from rkllmd.cli.ctl.screen import milliseconds, size

BROKEN = 1


def show_all(context: Context) -> None:
    """The caches."""
    reply = context.client.call("cache.list", model=context.options.model)
    if context.screen.as_json:
        context.screen.json(reply)
        return
    context.screen.table(
        ("model", "cache", "state", "source", "tokens", "size", "first token", "without", "reason"),
        [
            (one["model"], one["name"], one["state"], one.get("source"), one.get("tokens"),
             size(one.get("size")), milliseconds(one.get("first_token_cached_ms")),
             milliseconds(one.get("first_token_ms")), one["reason"])
            for one in reply["caches"]
        ],
    )  # fmt: skip


def show(context: Context) -> None:
    """One cache."""
    reply = context.client.call(
        "cache.show", model=context.options.model, name=context.options.name
    )
    if context.screen.as_json:
        context.screen.json(reply)
        return
    (one,) = reply["caches"]
    facts(context, _facts(one))
    if one.get("content"):
        context.screen.line()
        context.screen.line(one["content"])


def _facts(one: dict[str, Any]) -> list[tuple[str, Any]]:
    proof, failure = one.get("verification"), one.get("failure")
    return [
        ("cache", f"{one['model']}/{one['name']}"),
        ("state", one["state"] + (f": {one['reason']}" if one["reason"] else "")),
        ("source", " ".join(filter(None, (one.get("source"), one.get("origin"))))),
        ("state file", one.get("tokens") and f"{one['tokens']} tokens, {size(one['size'])}"),
        ("built", one.get("built_at") and f"{_moment(one['built_at'])} in"
         f" {milliseconds(one['build_ms'])}"),
        ("first token", milliseconds(one.get("first_token_cached_ms"))),
        ("without it", milliseconds(one.get("first_token_ms"))),
        ("proved", proof and f"{_moment(proof['at'])}, {proof['counts_fit']} of"
         f" {proof['canaries']} counts fit, {proof['words_agree']} answers agree {proof['note']}"),
        ("failed", failure and f"{failure['attempts']} times: {failure['reason']}"),
        ("fingerprint", one.get("fingerprint")),
    ]  # fmt: skip


def create(context: Context) -> None:
    """Keep a prompt."""
    options = context.options
    reply = ask(
        context, "cache.create", model=options.model, name=options.name,
        prompt=read_text(options.file), overwrite=options.overwrite,
    )  # fmt: skip
    say(context, reply, _stands(reply["cache"]))


def build(context: Context) -> int:
    """Build."""
    options = context.options
    reply = ask(context, "cache.build", model=options.model, name=options.name, force=options.force)
    say(
        context,
        reply,
        *(f"built: {name}" for name in reply["built"]),
        *(f"good as it is: {name}" for name in reply["skipped"]),
        *(f"failed: {one['name']} ({one['message']})" for one in reply["failed"]),
    )
    return BROKEN if reply["failed"] else 0


def delete(context: Context) -> None:
    """Delete."""
    options = context.options
    reply = ask(context, "cache.delete", model=options.model, name=options.name)
    what = "deleted; its prompt is a file, so it is built again" if reply["rebuilt"] else "deleted"
    say(context, reply, what)


def verify(context: Context) -> int:
    """Prove."""
    reply = ask(context, "cache.verify", model=context.options.model, name=context.options.name)
    say(
        context,
        reply,
        *(f"verified: {key}" for key in reply["verified"]),
        *(f"broken: {one['cache']} ({one['reason']})" for one in reply["broken"]),
    )
    return BROKEN if reply["broken"] else 0


def _stands(one: dict[str, Any]) -> str:
    reason = f" ({one['reason']})" if one["reason"] else ""
    tokens = f", {one['tokens']} tokens" if one.get("tokens") else ""
    return f"{one['model']}/{one['name']}: {one['state']}{reason}{tokens}"


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
