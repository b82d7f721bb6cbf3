"""From protocol messages to what a chat template reads, in the shapes that templates insist on.

A `Turn` is the dictionary that templates know: `role`, `content`, `tool_calls`, `tool_call_id`,
`name`. Parts are joined, `developer` is `system`, and the system messages at the head become one.
Call ids are counted anew, since a model needs them only to tell calls apart and random ones would
make the same conversation another prompt each time; nine characters, because Mistral's template
asks for that. An answer that names no call, as Ollama's clients send it, is that of the oldest open
call, of the tool that it names where it names one.

Templates differ in what they refuse. `SHAPES` are tried in order until one is taken:

1. the conversation as it is;
2. neighbours of the same role are one turn, and a later system message is a user's;
3. besides, a tool's answer that nothing called is a user's turn, a user's (empty) turn comes first,
   and a call's arguments are an object, also where the text that a client sent back is none.

For a template that knows no tools, `in_plain_text` writes calls and answers into the turns as
Hermes and Qwen do, which `toolcalls` understands:

    <tool_call>
    {"name": "set_timer", "arguments": {"minutes": 5}}
    </tool_call>
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rkllmd.protocol.messages import Message, TextPart, Tool, ToolCall

Turn = dict[str, Any]

TOOLS_INTRODUCTION = """\
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>"""
TOOLS_RULES = """\
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""


class Arguments(dict[str, Any]):
    """A call's arguments: an object for templates that walk it, JSON for those that print it."""

    def __str__(self) -> str:
        return json.dumps(self, ensure_ascii=False)

    def __add__(self, other: str) -> str:
        return str(self) + other

    def __radd__(self, other: str) -> str:
        return other + str(self)


def split_system(messages: Sequence[Message]) -> tuple[str | None, list[Turn]]:
    """The system text at the head (None without one) and the turns that follow."""
    turns = _turns(messages)
    head = 0
    while head < len(turns) and turns[head]["role"] == "system":
        head += 1
    texts = [turn["content"] for turn in turns[:head]]
    return "\n\n".join(texts) if texts else None, turns[head:]


def _turns(messages: Sequence[Message]) -> list[Turn]:
    turns: list[Turn] = []
    ids: dict[str, str] = {}
    unanswered: dict[str, str] = {}
    count = 0
    for message in messages:
        role = "system" if message.role == "developer" else message.role
        turn: Turn = {"role": role, "content": _text(message)}
        if message.tool_calls:
            turn["tool_calls"] = []
            for call in message.tool_calls:
                unanswered[_call_id(count)] = call.function.name
                if call.id:
                    ids[call.id] = _call_id(count)
                turn["tool_calls"].append(_call(call, _call_id(count)))
                count += 1
        if role == "tool":
            latest = _call_id(max(count - 1, 0))
            of_tool = [call for call, name in unanswered.items() if name == message.name]
            identity = ids.get(message.call_id) or next(iter(of_tool or unanswered), latest)
            unanswered.pop(identity, None)
            turn["tool_call_id"] = identity
        if message.name:
            turn["name"] = message.name
        turns.append(turn)
    return turns


def _text(message: Message) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    return "".join(part.text for part in message.content if isinstance(part, TextPart))


def _call_id(number: int) -> str:
    return f"call{number:05d}"


def _call(call: ToolCall, identity: str) -> dict[str, Any]:
    arguments: Any = call.function.arguments
    if isinstance(arguments, str):
        arguments = _read_object(arguments)
    if isinstance(arguments, Mapping):
        arguments = Arguments(arguments)
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": identity, "type": "function", "function": function}


def _read_object(text: str) -> Mapping[str, Any] | str:
    """The arguments as an object; a text that is none stays what the client sent."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, Mapping) else text


def stable_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """The same tools in the same words, in whatever order a client sent them."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool.function.name,
                "description": tool.function.description,
                "parameters": _sorted(tool.function.parameters)
                or {"type": "object", "properties": {}},
            },
        }
        for tool in sorted(tools, key=lambda tool: tool.function.name)
    ]


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value


def with_tools_described(system: str | None, tools: Sequence[Mapping[str, Any]]) -> str:
    """A system text that tells a model about tools when its template cannot."""
    lines = [json.dumps(tool, ensure_ascii=False) for tool in tools]
    described = "\n".join([TOOLS_INTRODUCTION, *lines, TOOLS_RULES])
    return f"{system}\n\n{described}" if system else described


def in_plain_text(turns: Sequence[Turn]) -> list[Turn]:
    """Calls and tools' answers as text; neighbouring answers become one user's turn."""
    plain: list[Turn] = []
    answering = False
    for turn in turns:
        if turn["role"] == "tool":
            text = f"<tool_response>\n{turn['content']}\n</tool_response>"
            if answering:
                plain[-1] = _joined(plain[-1], {"content": text}, "\n")
            else:
                plain.append({"role": "user", "content": text})
        else:
            plain.append(_with_calls_written(turn))
        answering = turn["role"] == "tool"
    return plain


def _with_calls_written(turn: Turn) -> Turn:
    written = [turn["content"]] if turn["content"] else []
    for call in turn.get("tool_calls", ()):
        function = call["function"]
        line = f'{{"name": {json.dumps(function["name"])}, "arguments": {function["arguments"]}}}'
        written.append(f"<tool_call>\n{line}\n</tool_call>")
    return {"role": turn["role"], "content": "\n".join(written)}


def with_system(system: str | None, turns: Sequence[Turn]) -> list[Turn]:
    """A system turn of its own before the others."""
    if system is None:
        return list(turns)
    return [{"role": "system", "content": system}, *turns]


def folded(system: str | None, turns: Sequence[Turn]) -> list[Turn]:
    """The system text at the head of the first user's turn."""
    if system is None:
        return list(turns)
    if not turns or turns[0]["role"] != "user":
        return [{"role": "user", "content": f"{system}\n\n"}, *turns]
    return [{**turns[0], "content": f"{system}\n\n{turns[0]['content']}"}, *turns[1:]]


def _merged(turns: Sequence[Turn]) -> list[Turn]:
    merged: list[Turn] = []
    for turn in turns:
        if merged and turn["role"] == "system":
            turn = {**turn, "role": "user"}  # noqa: PLW2901 - the same turn from here on
        if merged and turn["role"] == merged[-1]["role"] != "tool":
            merged[-1] = _joined(merged[-1], turn, "\n\n")
        else:
            merged.append(turn)
    return merged


def _joined(first: Turn, second: Turn, between: str) -> Turn:
    contents = [turn["content"] for turn in (first, second) if turn["content"]]
    calls = [*first.get("tool_calls", ()), *second.get("tool_calls", ())]
    joined = {**first, "content": between.join(contents)}
    return {**joined, "tool_calls": calls} if calls else joined


def _strict(turns: Sequence[Turn]) -> list[Turn]:
    strict = [_with_objects(turn) for turn in without_orphans(turns)]
    head = 1 if strict and strict[0]["role"] == "system" else 0
    if not strict[head:] or strict[head]["role"] != "user":
        strict.insert(head, {"role": "user", "content": ""})
    return _merged(strict)


def _with_objects(turn: Turn) -> Turn:
    """A call's arguments as an object, which some templates walk."""
    if "tool_calls" not in turn:
        return turn
    calls = []
    for call in turn["tool_calls"]:
        arguments = call["function"]["arguments"]
        if not isinstance(arguments, Mapping):
            arguments = Arguments(arguments=arguments)
        calls.append({**call, "function": {**call["function"], "arguments": arguments}})
    return {**turn, "tool_calls": calls}


def without_orphans(turns: Sequence[Turn]) -> list[Turn]:
    """A tool's answer that nothing called is the user's."""
    adopted: list[Turn] = []
    called = False
    for turn in turns:
        called = bool(turn.get("tool_calls")) or (called and turn["role"] == "tool")
        orphan = turn["role"] == "tool" and not called
        adopted.append({"role": "user", "content": turn["content"]} if orphan else turn)
    return adopted


def with_silence(turns: Sequence[Turn]) -> list[Turn]:
    """None in place of no words beside a call: DeepSeek's older templates tell calls by it."""
    return [
        {**turn, "content": turn["content"] or None} if turn.get("tool_calls") else turn
        for turn in turns
    ]


SHAPES: tuple[Callable[[Sequence[Turn]], list[Turn]], ...] = (list, _merged, _strict)
