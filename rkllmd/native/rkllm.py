"""rkllm.h of releases 1.1.0 to 1.3.1, retold as data, in the header's order.

`since` and `before` name the layout in which a member or a function came and went. The vendor's
spelling is kept, with one exception: RKLLMMultiModalInput was RKLLMMultiModelInput before 1.2.3.

    LLMCallState        RKLLM_RUN_NORMAL 0, WAITING 1, FINISH 2, ERROR 3,
                        and before 1.2.0 GET_LAST_HIDDEN_LAYER 4
    RKLLMInputType      RKLLM_INPUT_PROMPT 0, TOKEN 1, EMBED 2, MULTIMODAL 3
    RKLLMInferMode      RKLLM_INFER_GENERATE 0, GET_LAST_HIDDEN_LAYER 1, since 1.2.0 GET_LOGITS 2

    typedef int (*LLMResultCallback)(RKLLMResult*, void* userdata, LLMCallState);

returns nothing before 1.2.1 (the library then ignores what it gets), 0 to go on, 1 to pause, and
since 1.3.0 2 to give the output buffer back.
"""

from collections.abc import Mapping
from enum import IntEnum

from rkllmd.native.layouts import Layout
from rkllmd.native.structs import Field, Struct

V1_2_0, V1_2_1B1, V1_2_1 = Layout.V1_2_0, Layout.V1_2_1B1, Layout.V1_2_1
V1_3_0, V1_3_1 = Layout.V1_3_0, Layout.V1_3_1


class CallState(IntEnum):
    """LLMCallState."""

    NORMAL = 0
    WAITING = 1
    FINISH = 2
    ERROR = 3
    GET_LAST_HIDDEN_LAYER = 4


class InputType(IntEnum):
    """RKLLMInputType."""

    PROMPT = 0
    TOKEN = 1
    EMBED = 2
    MULTIMODAL = 3


class InferMode(IntEnum):
    """RKLLMInferMode."""

    GENERATE = 0
    GET_LAST_HIDDEN_LAYER = 1
    GET_LOGITS = 2


class CallbackReturn(IntEnum):
    """What the result callback may return."""

    GO_ON = 0
    PAUSE = 1
    RELEASE_OUTPUT = 2


EXTEND_PARAM = Struct(
    "RKLLMExtendParam",
    (
        Field("int32_t", "base_domain_id"),
        Field("int8_t", "embed_flash", since=V1_2_0),
        Field("int8_t", "enabled_cpus_num", since=V1_2_0),
        Field("uint32_t", "enabled_cpus_mask", since=V1_2_0),
        Field("uint8_t", "n_batch", since=V1_2_1),
        Field("int8_t", "use_cross_attn", since=V1_2_1),
        Field("uint8_t", "reserved", 112, before=V1_2_0),
        Field("uint8_t", "reserved", 106, since=V1_2_0, before=V1_2_1),
        Field("uint8_t", "reserved", 104, since=V1_2_1),
    ),
)

PARAM = Struct(
    "RKLLMParam",
    (
        Field("const char*", "model_path"),
        Field("int32_t", "max_context_len"),
        Field("int32_t", "max_new_tokens"),
        Field("int32_t", "top_k"),
        Field("int32_t", "n_keep", since=V1_2_0),
        Field("float", "top_p"),
        Field("float", "temperature"),
        Field("float", "repeat_penalty"),
        Field("float", "frequency_penalty"),
        Field("float", "presence_penalty"),
        Field("int32_t", "mirostat"),
        Field("float", "mirostat_tau"),
        Field("float", "mirostat_eta"),
        Field("bool", "skip_special_token"),
        Field("bool", "ignore_eos_token", since=V1_3_0),
        Field("bool", "is_async"),
        Field("const char*", "img_start", before=V1_3_0),
        Field("const char*", "img_end", before=V1_3_0),
        Field("const char*", "img_content", before=V1_3_0),
        Field(EXTEND_PARAM, "extend_param"),
    ),
)

LORA_ADAPTER = Struct(
    "RKLLMLoraAdapter",
    (
        Field("const char*", "lora_adapter_path"),
        Field("const char*", "lora_adapter_name"),
        Field("float", "scale"),
    ),
)

EMBED_INPUT = Struct("RKLLMEmbedInput", (Field("float*", "embed"), Field("size_t", "n_tokens")))

TOKEN_INPUT = Struct(
    "RKLLMTokenInput", (Field("int32_t*", "input_ids"), Field("size_t", "n_tokens"))
)

IMAGE = Struct(
    "",
    (
        Field("float*", "image_embed"),
        Field("size_t", "n_image_tokens"),
        Field("size_t", "n_image"),
        Field("const char*", "image_start"),
        Field("const char*", "image_end"),
        Field("const char*", "image_content"),
        Field("size_t", "image_width"),
        Field("size_t", "image_height"),
    ),
)

VIDEO = Struct(
    "",
    (
        Field("float*", "video_embed"),
        Field("size_t", "n_frame_tokens"),
        Field("size_t", "n_frame_per_video"),
        Field("size_t", "n_video"),
        Field("const char*", "video_start"),
        Field("const char*", "video_end"),
        Field("const char*", "video_content"),
        Field("size_t", "frame_width"),
        Field("size_t", "frame_height"),
    ),
)

AUDIO = Struct(
    "",
    (
        Field("float*", "audio_embed"),
        Field("size_t", "n_audio_tokens"),
        Field("size_t", "n_audio"),
        Field("const char*", "audio_start"),
        Field("const char*", "audio_end"),
        Field("const char*", "audio_content"),
    ),
)

MULTI_MODAL_INPUT = Struct(
    "RKLLMMultiModalInput",
    (
        Field("char*", "prompt"),
        Field("float*", "image_embed", before=V1_3_0),
        Field("size_t", "n_image_tokens", before=V1_3_0),
        Field("size_t", "n_image", since=V1_2_1B1, before=V1_3_0),
        Field("size_t", "image_width", since=V1_2_1B1, before=V1_3_0),
        Field("size_t", "image_height", since=V1_2_1B1, before=V1_3_0),
        Field(IMAGE, "image", since=V1_3_0),
        Field(VIDEO, "video", since=V1_3_0),
        Field(AUDIO, "audio", since=V1_3_1),
    ),
)

INPUT = Struct(
    "RKLLMInput",
    (
        Field("const char*", "role", since=V1_2_1),
        Field("bool", "enable_thinking", since=V1_2_1),
        Field("RKLLMInputType", "input_type"),
        Field(
            Struct(
                "",
                (
                    Field("const char*", "prompt_input"),
                    Field(EMBED_INPUT, "embed_input"),
                    Field(TOKEN_INPUT, "token_input"),
                    Field(MULTI_MODAL_INPUT, "multimodal_input"),
                ),
                union=True,
            ),
            "",
        ),
    ),
)

LORA_PARAM = Struct("RKLLMLoraParam", (Field("const char*", "lora_adapter_name"),))

PROMPT_CACHE_PARAM = Struct(
    "RKLLMPromptCacheParam",
    (Field("int", "save_prompt_cache"), Field("const char*", "prompt_cache_path")),
)

SAMPLING_PARAM = Struct(
    "RKLLMSamplingParam",
    (
        Field("int32_t", "top_k"),
        Field("float", "top_p"),
        Field("float", "temperature"),
        Field("float", "repeat_penalty"),
        Field("float", "frequency_penalty"),
        Field("float", "presence_penalty"),
        Field("int32_t", "mirostat"),
        Field("float", "mirostat_tau"),
        Field("float", "mirostat_eta"),
    ),
    since=V1_3_0,
)

INFER_PARAM = Struct(
    "RKLLMInferParam",
    (
        Field("RKLLMInferMode", "mode"),
        Field("RKLLMLoraParam*", "lora_params"),
        Field("RKLLMPromptCacheParam*", "prompt_cache_params"),
        Field("RKLLMSamplingParam*", "sampling_params", since=V1_3_0),
        Field("int", "keep_history", since=V1_2_0),
        Field("int32_t", "max_new_tokens", since=V1_3_0),
    ),
)

CROSS_ATTN_PARAM = Struct(
    "RKLLMCrossAttnParam",
    (
        Field("float*", "encoder_k_cache"),
        Field("float*", "encoder_v_cache"),
        Field("float*", "encoder_mask"),
        Field("int32_t*", "encoder_pos"),
        Field("int", "num_tokens"),
    ),
    since=V1_2_1,
)

RESULT_LAST_HIDDEN_LAYER = Struct(
    "RKLLMResultLastHiddenLayer",
    (
        Field("const float*", "hidden_states"),
        Field("int", "embd_size"),
        Field("int", "num_tokens"),
    ),
)

RESULT_LOGITS = Struct(
    "RKLLMResultLogits",
    (Field("const float*", "logits"), Field("int", "vocab_size"), Field("int", "num_tokens")),
    since=V1_2_0,
)

PERF_STAT = Struct(
    "RKLLMPerfStat",
    (
        Field("float", "prefill_time_ms"),
        Field("int", "prefill_tokens"),
        Field("float", "generate_time_ms"),
        # One less than the tokens that were sampled: the first one comes out of prefill (1.3.1).
        Field("int", "generate_tokens"),
        Field("float", "memory_usage_mb"),
    ),
    since=V1_2_1,
)

RESULT = Struct(
    "RKLLMResult",
    (
        Field("const char*", "text"),
        Field("int32_t", "token_id"),
        Field(RESULT_LAST_HIDDEN_LAYER, "last_hidden_layer"),
        Field(RESULT_LOGITS, "logits", since=V1_2_0),
        Field(PERF_STAT, "perf", since=V1_2_1),
    ),
)

CALLBACK = Struct(
    "RKLLMCallback",
    (
        Field("LLMResultCallback", "result_callback"),
        Field("void*", "result_userdata"),
        Field("LLMTokenizerCallback", "tokenizer_callback"),
        Field("void*", "tokenizer_userdata"),
        Field("LLMGetEmbedCallback", "embed_callback"),
        Field("void*", "embed_userdata"),
    ),
    since=V1_3_0,
)

STRUCTS: Mapping[str, Struct] = {
    struct.name: struct
    for struct in (
        EXTEND_PARAM, PARAM, LORA_ADAPTER, EMBED_INPUT, TOKEN_INPUT, MULTI_MODAL_INPUT, INPUT,
        LORA_PARAM, PROMPT_CACHE_PARAM, SAMPLING_PARAM, INFER_PARAM, CROSS_ATTN_PARAM,
        RESULT_LAST_HIDDEN_LAYER, RESULT_LOGITS, PERF_STAT, RESULT, CALLBACK,
    )
}  # fmt: skip
