/* The vendor's types and functions as our reference describes them, for the layout in LAYOUT.
 *
 * Written independently of rkllmd/native, so that the two can disagree. */
#ifndef SIMULATED_RKLLM_H
#define SIMULATED_RKLLM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define V1_1 0
#define V1_2_0 1
#define V1_2_1B1 2
#define V1_2_1 3
#define V1_3_0 4
#define V1_3_1 5

#ifndef LAYOUT
#error "LAYOUT has to be one of V1_1 to V1_3_1"
#endif

typedef void *LLMHandle;

typedef enum {
    RKLLM_RUN_NORMAL,
    RKLLM_RUN_WAITING,
    RKLLM_RUN_FINISH,
    RKLLM_RUN_ERROR,
    RKLLM_RUN_GET_LAST_HIDDEN_LAYER /* before 1.2.0 */
} LLMCallState;

typedef enum {
    RKLLM_INPUT_PROMPT,
    RKLLM_INPUT_TOKEN,
    RKLLM_INPUT_EMBED,
    RKLLM_INPUT_MULTIMODAL
} RKLLMInputType;

typedef enum {
    RKLLM_INFER_GENERATE,
    RKLLM_INFER_GET_LAST_HIDDEN_LAYER,
    RKLLM_INFER_GET_LOGITS /* since 1.2.0 */
} RKLLMInferMode;

typedef struct {
    int32_t base_domain_id;
#if LAYOUT >= V1_2_0
    int8_t embed_flash;
    int8_t enabled_cpus_num;
    uint32_t enabled_cpus_mask;
#endif
#if LAYOUT >= V1_2_1
    uint8_t n_batch;
    int8_t use_cross_attn;
    uint8_t reserved[104];
#elif LAYOUT >= V1_2_0
    uint8_t reserved[106];
#else
    uint8_t reserved[112];
#endif
} RKLLMExtendParam;

typedef struct {
    const char *model_path;
    int32_t max_context_len;
    int32_t max_new_tokens;
    int32_t top_k;
#if LAYOUT >= V1_2_0
    int32_t n_keep;
#endif
    float top_p;
    float temperature;
    float repeat_penalty;
    float frequency_penalty;
    float presence_penalty;
    int32_t mirostat;
    float mirostat_tau;
    float mirostat_eta;
    bool skip_special_token;
#if LAYOUT >= V1_3_0
    bool ignore_eos_token;
#endif
    bool is_async;
#if LAYOUT < V1_3_0
    const char *img_start;
    const char *img_end;
    const char *img_content;
#endif
    RKLLMExtendParam extend_param;
} RKLLMParam;

typedef struct {
    const char *lora_adapter_path;
    const char *lora_adapter_name;
    float scale;
} RKLLMLoraAdapter;

typedef struct {
    float *embed;
    size_t n_tokens;
} RKLLMEmbedInput;

typedef struct {
    int32_t *input_ids;
    size_t n_tokens;
} RKLLMTokenInput;

typedef struct {
    char *prompt;
#if LAYOUT >= V1_3_0
    struct {
        float *image_embed;
        size_t n_image_tokens;
        size_t n_image;
        const char *image_start;
        const char *image_end;
        const char *image_content;
        size_t image_width;
        size_t image_height;
    } image;
    struct {
        float *video_embed;
        size_t n_frame_tokens;
        size_t n_frame_per_video;
        size_t n_video;
        const char *video_start;
        const char *video_end;
        const char *video_content;
        size_t frame_width;
        size_t frame_height;
    } video;
#if LAYOUT >= V1_3_1
    struct {
        float *audio_embed;
        size_t n_audio_tokens;
        size_t n_audio;
        const char *audio_start;
        const char *audio_end;
        const char *audio_content;
    } audio;
#endif
#else
    float *image_embed;
    size_t n_image_tokens;
#if LAYOUT >= V1_2_1B1
    size_t n_image;
    size_t image_width;
    size_t image_height;
#endif
#endif
} RKLLMMultiModalInput;

typedef struct {
#if LAYOUT >= V1_2_1
    const char *role;
    bool enable_thinking;
#endif
    RKLLMInputType input_type;
    union {
        const char *prompt_input;
        RKLLMEmbedInput embed_input;
        RKLLMTokenInput token_input;
        RKLLMMultiModalInput multimodal_input;
    };
} RKLLMInput;

typedef struct {
    const char *lora_adapter_name;
} RKLLMLoraParam;

typedef struct {
    int save_prompt_cache;
    const char *prompt_cache_path;
} RKLLMPromptCacheParam;

#if LAYOUT >= V1_3_0
typedef struct {
    int32_t top_k;
    float top_p;
    float temperature;
    float repeat_penalty;
    float frequency_penalty;
    float presence_penalty;
    int32_t mirostat;
    float mirostat_tau;
    float mirostat_eta;
} RKLLMSamplingParam;
#endif

typedef struct {
    RKLLMInferMode mode;
    RKLLMLoraParam *lora_params;
    RKLLMPromptCacheParam *prompt_cache_params;
#if LAYOUT >= V1_3_0
    RKLLMSamplingParam *sampling_params;
#endif
#if LAYOUT >= V1_2_0
    int keep_history;
#endif
#if LAYOUT >= V1_3_0
    int32_t max_new_tokens;
#endif
} RKLLMInferParam;

#if LAYOUT >= V1_2_1
typedef struct {
    float *encoder_k_cache;
    float *encoder_v_cache;
    float *encoder_mask;
    int32_t *encoder_pos;
    int num_tokens;
} RKLLMCrossAttnParam;
#endif

typedef struct {
    const float *hidden_states;
    int embd_size;
    int num_tokens;
} RKLLMResultLastHiddenLayer;

typedef struct {
    const float *logits;
    int vocab_size;
    int num_tokens;
} RKLLMResultLogits;

typedef struct {
    float prefill_time_ms;
    int prefill_tokens;
    float generate_time_ms;
    int generate_tokens;
    float memory_usage_mb;
} RKLLMPerfStat;

typedef struct {
    const char *text;
    int32_t token_id;
    RKLLMResultLastHiddenLayer last_hidden_layer;
#if LAYOUT >= V1_2_0
    RKLLMResultLogits logits;
#endif
#if LAYOUT >= V1_2_1
    RKLLMPerfStat perf;
#endif
} RKLLMResult;

#if LAYOUT >= V1_2_1
typedef int (*LLMResultCallback)(RKLLMResult *result, void *userdata, LLMCallState state);
#else
typedef void (*LLMResultCallback)(RKLLMResult *result, void *userdata, LLMCallState state);
#endif

#if LAYOUT >= V1_3_0
typedef int (*LLMTokenizerCallback)(void *userdata, const char *text, int32_t length,
                                    int32_t *tokens, int32_t maximum);
typedef int (*LLMGetEmbedCallback)(void *userdata, int32_t *tokens, uint64_t count, void *out,
                                   uint64_t out_bytes);
typedef struct {
    LLMResultCallback result_callback;
    void *result_userdata;
    LLMTokenizerCallback tokenizer_callback;
    void *tokenizer_userdata;
    LLMGetEmbedCallback embed_callback;
    void *embed_userdata;
} RKLLMCallback;
#endif

#endif
