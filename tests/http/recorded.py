"""Bodies as integrations send them, rebuilt from their documented behaviour.

Written down from the requests that each client's source makes; texts are shortened.
"""

from typing import Any

Body = dict[str, Any]

ASSIST = (
    "Current time is 10:00:00. Today's date is 2026-11-21.\nYou are a voice assistant for Home "
    "Assistant.\nAnswer questions about the world truthfully.\nAnswer in plain text.\n"
)
TURN_ON: Body = {
    "type": "function",
    "function": {
        "name": "HassTurnOn",
        "description": "Turns on/opens/presses a device or entity.",
        "parameters": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "area": {"type": "string"},
                "domain": {"type": "array", "items": {"type": "string"}},
            },
            "required": [],
        },
    },
}
CALLED: Body = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {
            "id": "01JXYZ",
            "type": "function",
            "function": {"name": "HassTurnOn", "arguments": '{"name": "Lamp"}'},
        }
    ],
}

OPENAI_STYLE: dict[str, Body] = {
    "Home Assistant, llama_cpp: the probe of the set-up": {
        "model": "parrot", "messages": [{"role": "user", "content": "ping"}], "max_tokens": 3,
        "tools": [TURN_ON],
    },
    "Home Assistant, llama_cpp: the probe of the set-up, streamed": {
        "model": "parrot", "messages": [{"role": "user", "content": "ping"}], "max_tokens": 3,
        "tools": [TURN_ON], "stream": True,
    },
    "Home Assistant, llama_cpp: a turn": {
        "model": "parrot",
        "messages": [
            {"role": "system", "content": ASSIST},
            {"role": "user", "content": "Turn on the lamp"},
        ],
        "tools": [TURN_ON], "parallel_tool_calls": True, "stream": True, "max_completion_tokens": 9,
        "temperature": 1.0, "top_p": 1.0, "user": "01JABCDEF", "stream_options":
        {"include_usage": True}, "chat_template_kwargs": {"enable_thinking": False},
        "cache_prompt": True, "id_slot": 0,
    },
    "Home Assistant, llama_cpp: after a tool": {
        "model": "parrot",
        "messages": [
            {"role": "system", "content": ASSIST},
            {"role": "user", "content": "Turn on the lamp"},
            CALLED,
            {"role": "tool", "tool_call_id": "01JXYZ", "content": '{"success": true}'},
        ],
        "tools": [TURN_ON], "stream": True, "max_completion_tokens": 9,
    },
    "extended_openai_conversation: functions as tools": {
        "model": "parrot",
        "messages": [
            {"role": "system", "content": ASSIST},
            {"role": "user", "content": "hello", "name": "Alex"},
        ],
        "max_tokens": 9, "top_p": 1, "temperature": 0.5, "user": "01JABCDEF", "tools": [TURN_ON],
        "tool_choice": "auto",
    },
    "local_openai: parts and metadata": {
        "model": "parrot",
        "messages": [
            {"role": "system", "content": ASSIST},
            {"role": "user", "content": [{"type": "text", "text": "hello"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]},
            {"role": "user", "content": [{"type": "text", "text": "and you?"}]},
        ],
        "max_tokens": 9, "stream": True, "metadata": {"session_id": "01J"}, "temperature": 0.6,
        "tools": None, "response_format": None, "reasoning_effort": None, "extra": {"x": 1},
    },
    "OVOS: a persona's solver": {
        "model": "", "max_tokens": 9, "temperature": 0.5, "top_p": 0.2, "n": 1,
        "frequency_penalty": 0, "presence_penalty": 0, "stop": None, "stream": True,
        "messages": [{"role": "system", "content": "helpful"}, {"role": "user", "content": "hi"}],
    },
    "GLaDOS: the engine's loop": {
        "model": "parrot", "stream": True, "max_tokens": 9,
        "messages": [
            {"role": "system", "content": "You are GLaDOS."},
            {"role": "assistant", "content": "Hello."},
            {"role": "assistant", "content": "Still there?"},
            {"role": "user", "content": "hi"},
        ],
    },
}  # fmt: skip

OLLAMA_STYLE: dict[str, Body] = {
    "Home Assistant, ollama: a turn": {
        "model": "parrot",
        "messages": [
            {"role": "system", "content": ASSIST, "images": None, "tool_calls": None},
            {"role": "user", "content": "Turn on the lamp"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"function": {"name": "HassTurnOn", "arguments": {"name": "Lamp"}}}
            ]},
            {"role": "tool", "content": '{"success": true}'},
        ],
        "tools": [TURN_ON], "stream": True, "keep_alive": "-1s", "think": False,
        "options": {"num_ctx": 8192, "num_predict": 9},
    },
    "Home Assistant, ollama: the model is loaded": {
        "model": "parrot:latest", "messages": [], "keep_alive": -1,
    },
    "A script with defaults": {
        "model": "parrot", "messages": [{"role": "user", "content": "hi"}],
        "options": {"num_predict": 3, "temperature": 0, "seed": 42, "stop": ["x"], "mirostat": 0},
        "format": "", "template": "", "context": None,
    },
}  # fmt: skip
