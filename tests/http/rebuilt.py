"""Bodies of clients that cannot be installed here, rebuilt from their source; texts are shortened.

Home Assistant's own integrations and OVOS can be: what they sent is in `recorded.json`. PyPI's
`glados` is another program.

    local_openai                   skye-harris/hass_local_openai_llm, entity.py at 07065516
    extended_openai_conversation   jekalmin/extended_openai_conversation, entity.py at 1daab070
    GLaDOS                         dnhkng/GLaDOS, llm_processor.py at 0130fb70

Read on 2026-11-21.
"""

from typing import Any

Body = dict[str, Any]

SYSTEM: Body = {"role": "system", "content": "You are a voice assistant for Home Assistant."}
TURN_ON: Body = {
    "type": "function",
    "function": {
        "name": "HassTurnOn",
        "description": "Turns on/opens/presses a device or entity.",
        "parameters": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "area": {"type": "string"}},
            "required": [],
        },
    },
}


def user(text: str) -> Body:
    """A user's message as local_openai writes it: always in parts."""
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def called(**besides: Any) -> Body:
    """An assistant's message with a call."""
    function = {"name": "HassTurnOn", "arguments": '{"name": "Lamp"}'}
    return {
        "role": "assistant",
        **besides,
        "tool_calls": [{"type": "function", "id": "call_5f1c", "function": function}],
    }


BODIES: dict[str, Body] = {
    "local_openai: a turn": {
        "model": "parrot", "temperature": 0.6, "parallel_tool_calls": False,
        "messages": [
            SYSTEM, user("hello"), {"role": "assistant", "content": "Hi."},
            {"role": "tool", "tool_call_id": "injected_content", "content": "It is 10:00 AM."},
            user("and you?"),
        ],
        "tools": [TURN_ON], "stream": True, "metadata": {"session_id": "01KAHJ4W2S"},
        "chat_template_kwargs": {"enable_thinking": False}, "id_slot": 0, "top_k": 40,
        "min_p": 0.05, "repeat_penalty": 1.1, "presence_penalty": 0.0,
    },
    "local_openai: after a tool": {
        "model": "parrot", "temperature": 0.6, "parallel_tool_calls": True,
        "messages": [
            SYSTEM, user("Turn on the lamp"), called(content=None),
            {"role": "tool", "tool_call_id": "call_5f1c", "content": '{"success": true}'},
        ],
        "tools": [TURN_ON], "stream": True,
    },
    "local_openai: what was found is told as an assistant": {
        "model": "parrot", "temperature": 0.6, "parallel_tool_calls": False,
        "messages": [
            SYSTEM, user("hello"), {"role": "assistant", "content": "Hi."},
            {"role": "assistant", "content": "It is 10:00 AM."}, user("and you?"),
        ],
        "stream": True,
    },
    "extended_openai_conversation: a turn": {
        "model": "parrot", "stream": True, "stream_options": {"include_usage": True},
        "max_tokens": 150, "top_p": 1, "temperature": 0.5,
        "messages": [SYSTEM, {"role": "user", "content": "Turn on the lamp"}],
        "tools": [TURN_ON], "tool_choice": "auto",
    },
    "extended_openai_conversation: after a tool, and no more of them": {
        "model": "parrot", "stream": True, "stream_options": {"include_usage": True},
        "max_tokens": 150, "top_p": 1, "temperature": 0.5,
        "messages": [
            SYSTEM, {"role": "user", "content": "Turn on the lamp"}, called(),
            {"role": "tool", "tool_call_id": "call_5f1c", "content": '{"result":"Success"}'},
        ],
        "tools": [TURN_ON], "tool_choice": "none",
    },
    "GLaDOS: the engine's loop": {
        "model": "parrot", "stream": True,
        "messages": [
            {"role": "system", "content": "You are GLaDOS."},
            {"role": "user", "content": "How do I look?"},
            {"role": "assistant", "content": "Still there?"},
            {"role": "user", "content": "hi"},
        ],
    },
}  # fmt: skip
