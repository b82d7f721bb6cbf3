"""The functions of rkllm.h, as two tables: how each is called, and how its answer is judged.

`None` in `CHECKERS` is written out; it says "looked at, nothing to check".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rkllmd.errors import Code, EngineError
from rkllmd.native.layouts import Layout

V1_2_0, V1_2_1, V1_3_0 = Layout.V1_2_0, Layout.V1_2_1, Layout.V1_3_0


@dataclass(frozen=True, slots=True)
class Signature:
    """The C types of a function, and the layouts that have it so."""

    arguments: tuple[str, ...]
    result: str = "int"
    since: Layout = Layout.V1_1
    before: Layout | None = None


SIGNATURES: Mapping[str, tuple[Signature, ...]] = {
    # RKLLMParam rkllm_createDefaultParam();
    "rkllm_createDefaultParam": (Signature((), "RKLLMParam"),),
    # int rkllm_init(LLMHandle* handle, RKLLMParam* param, LLMResultCallback callback);
    # int rkllm_init(LLMHandle* handle, RKLLMParam* param, RKLLMCallback* callback);   since 1.3.0
    "rkllm_init": (
        Signature(("void**", "RKLLMParam*", "LLMResultCallback"), before=V1_3_0),
        Signature(("void**", "RKLLMParam*", "RKLLMCallback*"), since=V1_3_0),
    ),
    # int rkllm_load_lora(LLMHandle handle, RKLLMLoraAdapter* lora_adapter);
    "rkllm_load_lora": (Signature(("void*", "RKLLMLoraAdapter*")),),
    # int rkllm_load_prompt_cache(LLMHandle handle, const char* prompt_cache_path);
    "rkllm_load_prompt_cache": (Signature(("void*", "const char*")),),
    # int rkllm_release_prompt_cache(LLMHandle handle);
    "rkllm_release_prompt_cache": (Signature(("void*",)),),
    # int rkllm_destroy(LLMHandle handle);
    "rkllm_destroy": (Signature(("void*",)),),
    # int rkllm_run(LLMHandle handle, RKLLMInput* input, RKLLMInferParam* param, void* userdata);
    "rkllm_run": (Signature(("void*", "RKLLMInput*", "RKLLMInferParam*", "void*")),),
    # int rkllm_run_async(LLMHandle, RKLLMInput*, RKLLMInferParam*, void* userdata);
    # Never called: no output on 1.1.4 and 1.2.2, hangs on 1.2.1 (issues 206, 320, 396).
    "rkllm_run_async": (Signature(("void*", "RKLLMInput*", "RKLLMInferParam*", "void*")),),
    # int rkllm_abort(LLMHandle handle);
    "rkllm_abort": (Signature(("void*",)),),
    # int rkllm_is_running(LLMHandle handle);
    # 1 while running; the comment in the header said the opposite before 1.3.0 (seen on 1.2.2).
    "rkllm_is_running": (Signature(("void*",)),),
    # int rkllm_clear_kv_cache(LLMHandle handle, int keep_system_prompt);
    # int rkllm_clear_kv_cache(LLMHandle handle, int keep_system_prompt,
    #                          int* start_pos, int* end_pos);                         since 1.2.1
    "rkllm_clear_kv_cache": (
        Signature(("void*", "int"), since=V1_2_0, before=V1_2_1),
        Signature(("void*", "int", "int*", "int*"), since=V1_2_1),
    ),
    # int rkllm_get_kv_cache_size(LLMHandle handle, int* cache_sizes);
    "rkllm_get_kv_cache_size": (Signature(("void*", "int*"), since=V1_2_1),),
    # int rkllm_set_chat_template(LLMHandle handle, const char* system_prompt,
    #                             const char* prompt_prefix, const char* prompt_postfix);
    "rkllm_set_chat_template": (
        Signature(("void*", "const char*", "const char*", "const char*"), since=V1_2_0),
    ),
    # int rkllm_set_function_tools(LLMHandle handle, const char* system_prompt,
    #                              const char* tools, const char* tool_response_str);
    "rkllm_set_function_tools": (
        Signature(("void*", "const char*", "const char*", "const char*"), since=V1_2_1),
    ),
    # int rkllm_set_cross_attn_params(LLMHandle handle, RKLLMCrossAttnParam* cross_attn_params);
    "rkllm_set_cross_attn_params": (Signature(("void*", "RKLLMCrossAttnParam*"), since=V1_2_1),),
}


class CallFailed(EngineError):
    """A function of the library said that it failed."""

    def __init__(self, function: str, status: int) -> None:
        super().__init__(Code.ENGINE_ERROR, f"The runtime's {function} returned {status}.")
        self.function = function
        self.status = status


Checker = Callable[[int, Any, tuple[Any, ...]], int]


def check_status(status: int, function: Any, _arguments: tuple[Any, ...]) -> int:
    """0 is success; the header says "non-zero", the guide -1, for everything else."""
    if status != 0:
        raise CallFailed(function.__name__, status)
    return status


CHECKERS: Mapping[str, Checker | None] = {
    "rkllm_createDefaultParam": None,
    "rkllm_init": check_status,
    "rkllm_load_lora": check_status,
    "rkllm_load_prompt_cache": check_status,
    "rkllm_release_prompt_cache": None,  # to release where nothing was loaded is no failure
    "rkllm_destroy": None,  # nothing could be done about it
    "rkllm_run": check_status,
    "rkllm_run_async": check_status,
    "rkllm_abort": None,  # the run may be over already
    "rkllm_is_running": None,  # a value
    "rkllm_clear_kv_cache": check_status,
    "rkllm_get_kv_cache_size": check_status,
    "rkllm_set_chat_template": check_status,
    "rkllm_set_function_tools": check_status,
    "rkllm_set_cross_attn_params": check_status,
}


def signature(name: str, layout: Layout) -> Signature | None:
    """How a function is called in a layout, None where the layout has none of that name."""
    return next(
        (
            entry
            for entry in SIGNATURES[name]
            if entry.since <= layout and (entry.before is None or layout < entry.before)
        ),
        None,
    )
