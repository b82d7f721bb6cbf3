"""watch: what happens in the daemon, a line for each piece of news."""

import time
from collections.abc import Mapping
from typing import Any

from rkllmd.cli.ctl.command import Context


def watch(context: Context) -> None:
    """What happens."""
    kinds, level = context.options.kind, context.options.level
    for event in context.client.events("watch", kinds=kinds, level=level):
        if context.screen.as_json:
            context.screen.json(event)
        elif event["event"] == "event":
            context.screen.line(f"{time.strftime('%H:%M:%S')} {_news(**event)}")


def _news(kind: str, data: Mapping[str, Any], **_: Any) -> str:
    reason = f" ({data['reason']})" if data.get("reason") else ""
    about = "/".join(str(data[key]) for key in ("model", "name") if key in data)
    match kind:
        case "queue":
            runs = data["running"]["priority"] if data["running"] else "nothing"
            waits = " ".join(one["priority"] for one in data["waiting"]) or "nobody"
            text = f"{runs} runs, {waits} waits"
        case "thermal":
            text = "  ".join(
                [f"{name} {celsius} °C" for name, celsius in data["celsius"].items()]
                + [f"{name} {hertz // 1_000_000} MHz" for name, hertz in data["hertz"].items()]
            ) or "this board does not tell"  # fmt: skip
        case "log":
            about, text = data["level"], f"{data['room']}: {data['message']}"
        case _:
            text = f"{data['state']}{reason}"
    missed = f" ({data['missed']} news were missed)" if data.get("missed") else ""
    return f"{' '.join(filter(None, (kind, about)))}: {text}{missed}"
