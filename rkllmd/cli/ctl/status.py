"""The daemon as a whole: status, wait, reload, log-level, and any operation by its name."""

import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any

from rkllmd.cli.ctl.command import Context
from rkllmd.cli.ctl.replies import say
from rkllmd.cli.ctl.screen import Screen, duration, milliseconds, size
from rkllmd.client import ConnectionLost, NotNow
from rkllmd.errors import Code, StateError

CONNECT_SECONDS = 0.1
RELOAD_HINT = "systemctl restart rkllmd"


def status(context: Context) -> None:
    """How the daemon is."""
    found = context.client.call("status")
    if context.screen.as_json:
        context.screen.json(found)
    else:
        show_status(context.screen, found)


def show_status(screen: Screen, found: Mapping[str, Any]) -> None:
    """A status, for people."""
    running = sum(one["running"] for one in found["queue"].values())
    waiting = sum(one["waiting"] for one in found["queue"].values())
    screen.line(
        f"rkllmd {found['version']}: {found['state']}, up {duration(found['uptime_s'])},"
        f" {running} running, {waiting} waiting"
    )
    if npu := found["npu"]:
        driver = f"rknpu {npu['driver']}" if npu["driver"] else "a driver of unknown version"
        screen.line(f"{npu['chip']}, {driver}")
    if found["building"]:
        screen.line(found["building"])
    screen.line()
    screen.table(
        ("model", "state", "default", "engine", "context", "memory", "reason"),
        [
            (one["name"], one["state"], one["default"], one["engine"], one["context"],
             size(one["memory"]), one["reason"] or one["cannot_save"])
            for one in found["models"]
        ],
    )  # fmt: skip
    if found["caches"]:
        screen.line()
        screen.table(
            ("cache", "state", "tokens", "size", "reason"),
            [
                (f"{one['model']}/{one['name']}", one["state"], one["tokens"],
                 size(one["size"]), one["reason"])
                for one in found["caches"]
            ],
        )  # fmt: skip
    if last := found["last"]:
        totals = found["totals"]
        screen.line()
        screen.line(
            f"answers so far: {totals['answers']}, {totals['cache_hits']} with a cache; of"
            f" {totals['prompt_tokens']} prompt tokens {totals['cached_tokens']} were not computed"
        )
        screen.line(
            f"last answer: first token after {milliseconds(last['ttft_ms']) or 'no time'},"
            f" {last['cached_tokens']} of {last['prompt_tokens']} prompt tokens from the cache,"
            f" {last['tokens_per_s'] or '?'} tokens/s"
        )
    for note in found["notes"]:
        screen.line(f"note: {note}")


def wait(context: Context) -> None:
    """Until the daemon is ready."""
    client, timeout = context.client, context.options.timeout
    end = time.monotonic() + timeout
    state = None
    while state != "ready":
        client.timeout_s = max(end - time.monotonic(), CONNECT_SECONDS)
        try:
            with contextlib.closing(client.events("watch", kinds=["state"])) as events:
                while state != "ready":
                    state = next(events)["data"]["state"]
        except (ConnectionLost, NotNow) as error:  # NotNow: it is being restarted
            if time.monotonic() > end and state is not None:
                raise StateError(
                    Code.NOT_READY, f"the daemon is {state}, not ready, after {timeout:g} s"
                ) from error
            if time.monotonic() > end:
                raise
            time.sleep(CONNECT_SECONDS)
            state = None
    say(context, {"state": state})


def reload(context: Context) -> None:
    """Read everything again."""
    reply = context.client.call("reload")
    lines = [f"changed: {key}" for key in reply["applied"]]
    lines += [f"waits for `{RELOAD_HINT}`: {key}" for key in reply["needs_restart"]]
    say(context, reply, "reloaded", *lines)


def log_level(context: Context) -> None:
    """Show or set the level."""
    reply = context.client.call("log.level", level=context.options.level)
    say(context, reply, str(reply["level"]))


def call(context: Context) -> None:
    """Any operation."""
    for event in context.client.events(
        context.options.op, **dict(map(_member, context.options.members))
    ):
        context.screen.json(event)


def _member(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
