"""The chat templates that are known by name, for model files that bring none.

They are as plain as the formats allow. Where a format has no place for a system text, or insists
that turns alternate, the template says so with `raise_exception` and `template` helps itself. Only
Llama 3 and Mistral have a form of their own for tools; the others get them in words (see
`conversation`).

Two things differ from what the models' makers publish, both so that the prefix stands still:
Mistral's tools come before the first turn, not before the last one, and no template writes a date.
Thinking of earlier turns is left out, as Qwen and DeepSeek ask for.
"""

import difflib
from collections.abc import Mapping

from rkllmd.errors import Code, EngineError

DEFAULT = "chatml"

_CHATML_TURNS = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content.split('</think>')[-1].lstrip('\\n') if message.role == 'assistant'
   else message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}"""

_NO_THOUGHTS = """\
{%- if add_generation_prompt and not enable_thinking -%}
<think>

</think>

{% endif -%}"""

_LLAMA3 = """\
{{- bos_token }}
{%- set head = 1 if messages and messages[0].role == 'system' else 0 %}
{%- set system = messages[0].content if head else '' %}
{%- if system or tools -%}
<|start_header_id|>system<|end_header_id|>

{{ system }}
{%- if tools %}
{{- '\\n\\n' if system }}You have access to these functions:
{%- for tool in tools %}


{{ tool | tojson(indent=4) }}
{%- endfor %}


To call a function, answer with nothing but JSON of this form:
{"name": function name, "parameters": dictionary of argument name and its value}
{%- endif -%}
<|eot_id|>
{%- endif %}
{%- for message in messages[head:] -%}
<|start_header_id|>{{ 'ipython' if message.role == 'tool' else message.role }}<|end_header_id|>

{{ message.content or '' }}
{%- for call in message.tool_calls or [] -%}
{"name": {{ call.function.name | tojson }}, "parameters": {{ call.function.arguments }}}
{%- endfor -%}
<|eot_id|>
{%- endfor %}
{%- if add_generation_prompt -%}
<|start_header_id|>assistant<|end_header_id|>

{% endif -%}"""

_GEMMA = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message.role not in ['user', 'assistant'] %}
{{- raise_exception('Gemma has only user and assistant turns') }}
{%- elif message.role == (loop.previtem.role if loop.previtem else 'assistant') %}
{{- raise_exception('Gemma wants user and assistant turns in alternation') }}
{%- endif -%}
<start_of_turn>{{ 'model' if message.role == 'assistant' else 'user' }}
{{ message.content }}<end_of_turn>
{% endfor -%}
{%- if add_generation_prompt -%}
<start_of_turn>model
{% endif -%}"""

_PHI = """\
{%- for message in messages -%}
<|{{ message.role }}|>
{{ message.content }}<|end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|assistant|>
{% endif -%}"""

_MISTRAL = """\
{{- bos_token }}
{%- if tools %}
{{- '[AVAILABLE_TOOLS] ' + tools | tojson + '[/AVAILABLE_TOOLS]' }}
{%- endif %}
{%- for message in messages %}
{%- set before = loop.previtem.role if loop.previtem else 'assistant' %}
{%- if message.role == 'system' or message.role == before != 'tool' %}
{{- raise_exception('Mistral wants user and assistant turns in alternation') }}
{%- elif message.role == 'user' %}
{{- '[INST] ' + message.content + '[/INST]' }}
{%- elif message.role == 'tool' %}
{{- '[TOOL_RESULTS] ' + {'content': message.content, 'call_id': message.tool_call_id} | tojson
    + '[/TOOL_RESULTS]' }}
{%- else %}
{{- ' ' + message.content if message.content }}
{%- for call in message.tool_calls or [] %}
{{- '[TOOL_CALLS] [' if loop.first else ', ' }}
{{- '{"name": ' + call.function.name | tojson + ', "arguments": ' + call.function.arguments
    + ', "id": ' + call.id | tojson + '}' }}
{{- ']' if loop.last }}
{%- endfor %}
{{- eos_token or '</s>' }}
{%- endif %}
{%- endfor -%}"""

_DEEPSEEK = """\
{{- bos_token }}
{%- for message in messages %}
{%- if message.role == 'system' %}
{{- message.content if loop.first else raise_exception('DeepSeek wants the system text first') }}
{%- elif message.role == 'user' -%}
<｜User｜>{{ message.content }}
{%- else -%}
<｜Assistant｜>{{ message.content.split('</think>')[-1].lstrip('\\n') }}<｜end▁of▁sentence｜>
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt -%}
<｜Assistant｜><think>
{{ '' if enable_thinking else '\\n</think>\\n\\n' }}
{%- endif -%}"""

TEMPLATES: Mapping[str, str] = {
    "chatml": _CHATML_TURNS,
    "qwen3": _CHATML_TURNS + _NO_THOUGHTS,
    "llama3": _LLAMA3,
    "gemma": _GEMMA,
    "phi": _PHI,
    "mistral": _MISTRAL,
    "deepseek": _DEEPSEEK,
}
"""`qwen3` is ChatML that keeps a thinking model from thinking unless it is asked to."""


def choose(setting: str | None, metadata_template: str | None) -> str:
    """The source: what the setting names or is, else the model file's own, else ChatML."""
    if setting is None:
        return metadata_template or TEMPLATES[DEFAULT]
    if "{{" in setting or "{%" in setting:
        return setting
    if setting not in TEMPLATES:
        raise _unknown(setting)
    return TEMPLATES[setting]


def _unknown(name: str) -> EngineError:
    close = difflib.get_close_matches(name[:60].lower(), TEMPLATES, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return EngineError(
        Code.LOAD_FAILED,
        f"There is no chat template {name[:60]!r}{hint}; allowed: {', '.join(TEMPLATES)}, or a"
        " Jinja2 template.",
    )
