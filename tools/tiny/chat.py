"""How a conversation becomes text: ChatML, with the tools as signatures in the system turn.

`TEMPLATE` goes into the model file; `render_*` are the same in Python, because the corpus needs the
pieces apart (a test compares the two). A tool is one line, what it does and then the pattern of its
call, much shorter than its JSON schema:

    Sets a timer. {"name": "set_timer", "arguments": {"minutes": integer, "label": string?}}

A call is a copy of that pattern with values in it, so that a small model finds its way by copying:

    <tool_call>
    {"name": "set_timer", "arguments": {"minutes": 12}}
    </tool_call>
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

TEMPLATE = """\
{%- set start = '' -%}
{%- if messages and messages[0]['role'] == 'system' -%}
{%- set start = messages[0]['content'] -%}
{%- endif -%}
{%- if start or tools -%}
{{- '<|im_start|>system\\n' + start -}}
{%- if tools -%}
{{- ('\\n\\n' if start else '') + 'Tools:' -}}
{%- for tool in tools -%}
{%- set f = tool['function'] if tool['function'] is defined else tool -%}
{{- '\\n' -}}
{%- if f['description'] is defined and f['description'] -%}
{{- f['description'] + ' ' -}}
{%- endif -%}
{{- '{"name": "' + f['name'] + '", "arguments": {' -}}
{%- set required = f['parameters']['required'] if f['parameters'] is defined \
and f['parameters']['required'] is defined else [] -%}
{%- if f['parameters'] is defined and f['parameters']['properties'] is defined -%}
{%- for name, p in f['parameters']['properties'].items() -%}
{{- (', "' if not loop.first else '"') + name + '": ' -}}
{{- p['enum'] | join('|') if p['enum'] is defined \
else (p['type'] if p['type'] is defined else 'any') -}}
{{- '' if name in required else '?' -}}
{%- endfor -%}
{%- endif -%}
{{- '}}' -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if not (loop.first and message['role'] == 'system') -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['content'] -%}
{{- message['content'] -}}
{%- endif -%}
{%- if message['tool_calls'] is defined and message['tool_calls'] -%}
{%- for call in message['tool_calls'] -%}
{%- set c = call['function'] if call['function'] is defined else call -%}
{{- ('\\n' if message['content'] or not loop.first else '') + '<tool_call>\\n' -}}
{{- '{"name": "' + c['name'] + '", "arguments": ' -}}
{{- c['arguments'] if c['arguments'] is string else c['arguments'] | tojson -}}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

ANSWER_OPENING = "<|im_start|>assistant\n"
TURN_END = "<|im_end|>"


@dataclass(frozen=True)
class Argument:
    """One argument of a tool."""

    name: str
    kind: str = "string"
    required: bool = True
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A tool as it is listed."""

    name: str
    description: str
    arguments: tuple[Argument, ...] = ()

    def line(self) -> str:
        arguments = ", ".join(
            f'"{a.name}": {"|".join(a.choices) or a.kind}{"" if a.required else "?"}'
            for a in self.arguments
        )
        pattern = f'{{"name": "{self.name}", "arguments": {{{arguments}}}}}'
        return f"{self.description} {pattern}" if self.description else pattern

    def schema(self) -> dict[str, Any]:
        """The tool as a client of the OpenAI API would send it."""
        properties: dict[str, Any] = {}
        for a in self.arguments:
            properties[a.name] = {"type": a.kind} | ({"enum": list(a.choices)} if a.choices else {})
        parameters = {
            "type": "object",
            "properties": properties,
            "required": [a.name for a in self.arguments if a.required],
        }
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class Call:
    """A tool call: the name and the arguments."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        arguments = json.dumps(self.arguments, ensure_ascii=False)
        return f'<tool_call>\n{{"name": "{self.name}", "arguments": {arguments}}}\n</tool_call>'


@dataclass(frozen=True)
class Expect:
    """What an answer has to have; used by the evaluation only."""

    skill: str
    call: Call | None = None
    parts: tuple[str, ...] = ()
    """Texts that must be in the answer, in any case of letters."""
    among: tuple[str, ...] = ()
    """Answers of which one must be the whole answer."""
    one_sentence: bool = False


@dataclass(frozen=True)
class Message:
    """One turn. An assistant's turn carries what it is judged by."""

    role: str
    content: str
    expect: Expect | None = None
    call: Call | None = None

    def as_dict(self) -> dict[str, Any]:
        if self.call is None:
            return {"role": self.role, "content": self.content}
        function = {"name": self.call.name, "arguments": self.call.arguments}
        return {
            "role": self.role,
            "content": "",
            "tool_calls": [{"type": "function", "function": function}],
        }


def render_system(text: str, tools: list[Tool]) -> str:
    """The system turn, or nothing when there is nothing to say."""
    if not text and not tools:
        return ""
    lines = [text] if text else []
    if tools:
        lines.append("\n".join(["Tools:", *(tool.line() for tool in tools)]))
    return "<|im_start|>system\n" + "\n\n".join(lines) + "<|im_end|>\n"


def render_message(message: Message) -> str:
    """A turn of the conversation."""
    return f"<|im_start|>{message.role}\n{message.content}{TURN_END}\n"
