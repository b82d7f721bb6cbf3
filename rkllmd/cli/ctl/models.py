"""model list, show, load, unload and verify."""

from typing import Any

from rkllmd.cli.ctl.command import Context
from rkllmd.cli.ctl.replies import ask, facts, say
from rkllmd.cli.ctl.screen import milliseconds, size

QUESTION = "Say hello."
ANSWER_TOKENS = 16
DIFFERENT = 1


def show_all(context: Context) -> None:
    """The models."""
    reply = context.client.call("model.list")
    if context.screen.as_json:
        context.screen.json(reply)
        return
    context.screen.table(
        ("model", "state", "default", "engine", "context", "memory", "prefill/s", "decode/s",
         "file size", "reason"),
        [
            (one["name"], one["state"], one["default"], one["engine"], one["context"],
             size(one["memory"]), one["prefill_tokens_per_s"], one["decode_tokens_per_s"],
             size(one["size"]), one["reason"])
            for one in reply["models"]
        ],
    )  # fmt: skip


def show(context: Context) -> None:
    """One model."""
    reply = context.client.call("model.show", model=context.options.model)
    if context.screen.as_json:
        context.screen.json(reply)
        return
    (one,) = reply["models"]
    facts(context, _facts(one))


def _facts(one: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("name", one["name"] + (" (default)" if one["default"] else "")),
        ("state", one["state"] + (f": {one['reason']}" if one["reason"] else "")),
        ("file", f"{one['file']} ({size(one['size'])})"),
        ("engine", one["engine"]),
        ("kind", one["architecture"]),
        ("parameters", one["parameters"]),
        ("context", one["context"] and f"{one['context']} tokens"),
        ("context limit", one["context_limit"] and f"{one['context_limit']} tokens"),
        ("memory", size(one["memory"])),
        ("loaded in", milliseconds(one["load_ms"])),
        ("prefill", _per_second(one["prefill_tokens_per_s"])),
        ("decode", _per_second(one["decode_tokens_per_s"])),
        ("languages", ", ".join(one["languages"])),
        ("no caches", one["cannot_save"]),
        *(("warning", text) for text in one["warnings"]),
        *(("note", text) for text in one["notes"]),
        *(
            (f"can {name}", " ".join(filter(None, (able["ability"], able["reason"]))))
            for name, able in (one["capabilities"] or {}).items()
        ),
    ]


def _per_second(speed: float | None) -> str:
    return "" if speed is None else f"{speed} tokens per second at best, since it was loaded"


def load(context: Context) -> None:
    """Load it."""
    reply = ask(context, "model.load", model=context.options.model)
    say(context, reply, _stands(reply))


def unload(context: Context) -> None:
    """Unload it."""
    reply = ask(context, "model.unload", model=context.options.model)
    say(context, reply, _stands(reply))


def verify(context: Context) -> int:
    """Whether the answer is the same with the cache as without, and every cache proves good."""
    name = context.options.model
    cold, cached = (
        ask(
            context, "chat", model=name, text=QUESTION, use_cache=use, temperature=0,
            max_tokens=ANSWER_TOKENS, stream=False,
        )
        for use in (False, True)
    )  # fmt: skip
    caches = ask(context, "cache.verify", model=name)
    same = cold["text"] == cached["text"]
    good = same and not caches["broken"]
    say(
        context,
        {
            "model": name, "same_answer": same, "verified": caches["verified"],
            "broken": caches["broken"], "ttft_ms": cold["timing"]["ttft_ms"],
            "ttft_cached_ms": cached["timing"]["ttft_ms"],
        },
        f"answers: {'the same' if same else 'different'} with and without the cache",
        f"first token: {milliseconds(cold['timing']['ttft_ms']) or 'none'} without,"
        f" {milliseconds(cached['timing']['ttft_ms']) or 'none'} with",
        *(f"verified: {key}" for key in caches["verified"]),
        *(f"broken: {one['cache']} ({one['reason']})" for one in caches["broken"]),
    )  # fmt: skip
    return 0 if good else DIFFERENT


def _stands(reply: dict[str, Any]) -> str:
    one = reply["model"]
    return f"{one['name']}: {one['state']}"
