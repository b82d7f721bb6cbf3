"""ask and chat: a question from a terminal or a pipe, and a conversation.

In a chat Ctrl-C ends the answer and Ctrl-D, or Ctrl-C at the prompt, the chat. What is typed is
kept in `~/.local/state/rkllmd/chat_history` (or below $XDG_STATE_HOME), answers are not.
"""

import contextlib
import json
import os
import sys
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rkllmd.cli.ctl.command import Context
from rkllmd.cli.ctl.replies import read_text
from rkllmd.cli.ctl.screen import milliseconds
from rkllmd.client import DaemonError
from rkllmd.errors import Code, RequestError

HISTORY_LINES_MAX = 1000
HELP = """\
/reset          begin anew
/system TEXT    another system prompt, and begin anew; without TEXT the model's own
/stats          how the last answer went
/help           this list; Ctrl-C ends an answer, Ctrl-D the chat"""


def ask(context: Context) -> None:
    """One question."""
    options = context.options
    text = read_text() if options.text is None else options.text
    if not text.strip():
        raise RequestError(Code.BAD_REQUEST, "text: found nothing, allowed: a question")
    members = {
        "model": options.model, "session": options.session, "system": options.system,
        "use_cache": options.cache, "max_tokens": options.max_tokens,
        "temperature": options.temperature,
    }  # fmt: skip
    events = context.client.events("chat", text=text, stream="tokens", **members)
    if context.screen.as_json:
        for event in events:
            context.screen.json(event)
    else:
        _print_answer(context, events)


def chat(context: Context) -> None:
    """A conversation."""
    talk = Talk(context, context.options.session or f"rkllmctl-{os.getpid()}")
    with _history():
        while (text := _typed(context)) is not None:
            if text.startswith("/"):
                talk.command(text)
            elif text.strip():
                talk.say(text)


@dataclass
class Talk:
    """One conversation."""

    context: Context
    session: str
    system: str | None = None
    last: Mapping[str, Any] | None = None

    def say(self, text: str) -> None:
        """Send a turn and print the answer."""
        answer = self.context.client.events(
            "chat", text=text, model=self.context.options.model, session=self.session,
            system=self.system, stream="tokens", priority="voice",
        )  # fmt: skip
        try:
            if self.context.screen.as_json:
                for event in answer:
                    self.context.screen.json(event)
            else:
                self.last = _print_answer(self.context, answer)
        except KeyboardInterrupt:
            self.context.screen.line(" …")
        except DaemonError as error:
            self.context.screen.complain(error.code, str(error), error.hint)

    def command(self, text: str) -> None:
        """What begins with a slash."""
        word, _, rest = text.strip().partition(" ")
        match word:
            case "/reset":
                self._begin_anew("begun anew")
            case "/system":
                self.system = rest.strip() or None
                self._begin_anew(
                    "begun anew with " + ("this" if self.system else "the model's own")
                )
            case "/stats":
                self.context.screen.line(_stats(self.last))
            case _:
                self.context.screen.line(HELP)

    def _begin_anew(self, said: str) -> None:
        with contextlib.suppress(DaemonError):  # a conversation that has not begun
            self.context.client.call("session.reset", session=self.session)
        self.context.screen.line(said)


def _print_answer(
    context: Context, events: Generator[dict[str, Any], None, None]
) -> Mapping[str, Any] | None:
    done = None
    with contextlib.closing(events):
        for event in events:
            match event["event"]:
                case "delta":
                    context.screen.piece(event["text"])
                case "tool_call":
                    call = {"name": event["name"], "arguments": event["arguments"]}
                    context.screen.line(json.dumps(call, ensure_ascii=False))
                case "progress" | "queued":
                    context.screen.progress(event)
                case "done":
                    done = event
    context.screen.line()
    for warning in done["warnings"] if done else ():
        print(f"rkllmctl: {warning}", file=sys.stderr)
    return done


def _stats(done: Mapping[str, Any] | None) -> str:
    if done is None:
        return "no answer yet"
    usage, timing = done["usage"], done["timing"]
    caches = f" ({', '.join(usage['cached_prompts'])})" if usage["cached_prompts"] else ""
    return (
        f"{done['model']}: first token after {milliseconds(timing['ttft_ms']) or 'no time'},"
        f" {usage['cached_tokens']} of {usage['prompt_tokens']} prompt tokens from the cache"
        f"{caches}, {usage['completion_tokens']} tokens at"
        f" {timing['tokens_per_s'] or '?'} per second, ended by {done['reason']}"
    )


def _typed(context: Context) -> str | None:
    """The next line, None at the end."""
    try:
        return input("" if context.screen.as_json else "> ")
    except (EOFError, KeyboardInterrupt):
        context.screen.clear()
        if not context.screen.as_json:
            context.screen.line()
        return None


@contextlib.contextmanager
def _history() -> Generator[None, None, None]:
    """Editing of the line, and what was typed before, on a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    try:
        import readline  # noqa: PLC0415
    except ImportError:
        yield
        return
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    file = Path(state, "rkllmd", "chat_history").expanduser()
    readline.set_history_length(HISTORY_LINES_MAX)
    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        readline.read_history_file(file)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(file)
