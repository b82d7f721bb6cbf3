#define _GNU_SOURCE
#include "strict.h"

#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096
#define STRING_BYTES_MAX (64 << 20)

void violation(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("RKLLM-SIM VIOLATION: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    abort();
}

/* The kernel reads the byte for us: a bad address is EFAULT there and not a crash here. */
static bool is_readable(const void *address) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC))
        return true;
    bool good = write(ends[1], address, 1) == 1;
    close(ends[0]);
    close(ends[1]);
    return good;
}

void check_readable(const void *start, size_t size, const char *what) {
    const char *first = start;
    if (!start)
        violation("%s is NULL", what);
    for (size_t at = 0; at < size; at += PAGE)
        if (!is_readable(first + at))
            violation("%s: %p is not readable", what, (const void *)(first + at));
    if (size && !is_readable(first + size - 1))
        violation("%s: its end %p is not readable", what, (const void *)(first + size - 1));
}

void check_code(const void *function, const char *what) { check_readable(function, 1, what); }

static size_t utf8_length(const unsigned char *at) {
    size_t length = *at < 0x80 ? 1 : *at >= 0xc2 && *at < 0xe0 ? 2 : *at >= 0xe0 && *at < 0xf0 ? 3
                                 : *at >= 0xf0 && *at < 0xf5   ? 4
                                                               : 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

void check_string(const char *text, const char *what) {
    if (!text)
        violation("%s is NULL", what);
    size_t size = 0;
    for (;; size++) {
        if ((size == 0 || ((uintptr_t)(text + size)) % PAGE == 0) && !is_readable(text + size))
            violation("%s: %p is not readable", what, (const void *)(text + size));
        if (!text[size])
            break;
        if (size > STRING_BYTES_MAX)
            violation("%s has no end", what);
    }
    for (size_t at = 0; at < size;) {
        size_t length = utf8_length((const unsigned char *)text + at);
        if (!length)
            violation("%s is not UTF-8 at byte %zu", what, at);
        at += length;
    }
}

void check_rows(const float *values, size_t count, size_t tokens, size_t width, const char *what) {
    if (count < 1 || count > 64 || tokens < 1 || tokens > 1 << 20)
        violation("%s: %zu of %zu tokens each", what, count, tokens);
    size_t all = count * tokens * width;
    check_readable(values, all * sizeof *values, what);
    for (size_t i = 0; i < all; i++)
        if (!isfinite(values[i]))
            violation("%s: value %zu of %zu is %g", what, i, all, (double)values[i]);
}

void check_tags(const char *start, const char *end, const char *content, const char *what) {
    check_string(start, what);
    check_string(end, what);
    check_string(content, what);
    if (!*content)
        violation("%s: the content tag is empty", what);
}

static void check_range(double value, double low, double high, const char *what) {
    if (!(value >= low && value <= high))
        violation("%s is %g, allowed are %g to %g", what, value, low, high);
}

static void check_zero(const void *start, size_t from, size_t to, const char *what) {
    for (size_t at = from; at < to; at++)
        if (((const unsigned char *)start)[at])
            violation("%s has %#x at byte %zu, where nothing may be", what,
                      ((const unsigned char *)start)[at], at);
}

/* A bool is one byte and only ever 0 or 1; anything else means that the layouts differ. */
static void check_bool(const bool *flag, const char *what) {
    unsigned char byte;
    memcpy(&byte, flag, 1);
    check_range(byte, 0, 1, what);
}

static void check_extend(const RKLLMExtendParam *extend) {
    check_range(extend->base_domain_id, 0, 15, "base_domain_id");
    check_zero(extend->reserved, 0, sizeof extend->reserved, "reserved");
#if LAYOUT >= V1_2_0
    check_range(extend->embed_flash, 0, 1, "embed_flash");
    check_range(extend->enabled_cpus_num, 0, 8, "enabled_cpus_num");
    check_range(extend->enabled_cpus_mask, 0, 255, "enabled_cpus_mask");
    check_zero(extend, 6, 8, "the padding of RKLLMExtendParam");
    if (extend->enabled_cpus_mask &&
        __builtin_popcount(extend->enabled_cpus_mask) != extend->enabled_cpus_num)
        violation("enabled_cpus_num is %d, but the mask is %#x", extend->enabled_cpus_num,
                  extend->enabled_cpus_mask);
#endif
#if LAYOUT >= V1_2_1
    check_range(extend->n_batch, 0, 1, "n_batch");
    check_range(extend->use_cross_attn, 0, 1, "use_cross_attn");
#endif
}

static void check_sampling(int top_k, float top_p, float temperature, float repeat, float frequency,
                           float presence, int mirostat, float tau, float eta) {
    check_range(top_k, 1, 1 << 20, "top_k");
    check_range(top_p, 0, 1, "top_p");
    check_range(temperature, 0, 10, "temperature");
    check_range(repeat, 0.001, 10, "repeat_penalty");
    check_range(frequency, -2, 2, "frequency_penalty");
    check_range(presence, -2, 2, "presence_penalty");
    check_range(mirostat, 0, 2, "mirostat");
    check_range(tau, 0, 100, "mirostat_tau");
    check_range(eta, 0, 100, "mirostat_eta");
}

void check_param(const RKLLMParam *param) {
    check_readable(param, sizeof *param, "RKLLMParam");
    check_string(param->model_path, "model_path");
    check_range(param->max_context_len, 1, 1 << 20, "max_context_len");
    check_range(param->max_new_tokens, 1, 1 << 20, "max_new_tokens");
    check_sampling(param->top_k, param->top_p, param->temperature, param->repeat_penalty,
                   param->frequency_penalty, param->presence_penalty, param->mirostat,
                   param->mirostat_tau, param->mirostat_eta);
    check_bool(&param->skip_special_token, "skip_special_token");
    check_bool(&param->is_async, "is_async");
    if (param->is_async)
        violation("is_async is set; asynchronous runs do not work on half of the releases");
#if LAYOUT >= V1_3_0
    check_bool(&param->ignore_eos_token, "ignore_eos_token");
#else
    const char *tags[] = {param->img_start, param->img_end, param->img_content};
    for (int i = 0; i < 3; i++)
        if (tags[i])
            check_string(tags[i], "an image tag");
    check_zero(param, offsetof(RKLLMParam, is_async) + 1, offsetof(RKLLMParam, img_start),
               "the padding of RKLLMParam");
#endif
    check_extend(&param->extend_param);
}

#if LAYOUT >= V1_3_0
#define UNUSED_IS_ZERO(input, member, used)                                                        \
    if (!(used))                                                                                   \
    check_zero(&(input)->member, 0, sizeof(input)->member, "the unused " #member)
#endif

/* What can be told without the model; how wide a row is, the run knows. */
static void check_multimodal(const RKLLMMultiModalInput *input) {
    check_string(input->prompt, "the multimodal prompt");
#if LAYOUT >= V1_3_0
    UNUSED_IS_ZERO(input, image, input->image.image_embed);
    UNUSED_IS_ZERO(input, video, false);
    if (input->image.image_embed)
        check_tags(input->image.image_start, input->image.image_end, input->image.image_content,
                   "image");
#endif
#if LAYOUT >= V1_3_1
    UNUSED_IS_ZERO(input, audio, input->audio.audio_embed);
    if (input->audio.audio_embed)
        check_tags(input->audio.audio_start, input->audio.audio_end, input->audio.audio_content,
                   "audio");
#endif
}

void check_input(const RKLLMInput *input) {
    check_readable(input, sizeof *input, "RKLLMInput");
    check_range(input->input_type, RKLLM_INPUT_PROMPT, RKLLM_INPUT_MULTIMODAL, "input_type");
    size_t body = offsetof(RKLLMInput, prompt_input);
    size_t used = 0;
#if LAYOUT >= V1_2_1
    check_bool(&input->enable_thinking, "enable_thinking");
    check_zero(input, offsetof(RKLLMInput, enable_thinking) + 1, offsetof(RKLLMInput, input_type),
               "the padding of RKLLMInput");
    if (input->role) {
        check_string(input->role, "role");
        if (*input->role && strcmp(input->role, "user") && strcmp(input->role, "tool"))
            violation("role is '%s', allowed are 'user' and 'tool'", input->role);
    }
#endif
    switch (input->input_type) {
    case RKLLM_INPUT_PROMPT:
        check_string(input->prompt_input, "the prompt");
        used = sizeof input->prompt_input;
        break;
    case RKLLM_INPUT_TOKEN:
        check_readable(input->token_input.input_ids, input->token_input.n_tokens * 4, "input_ids");
        used = sizeof input->token_input;
        break;
    case RKLLM_INPUT_EMBED:
        check_readable(input->embed_input.embed, 4, "embed");
        used = sizeof input->embed_input;
        break;
    case RKLLM_INPUT_MULTIMODAL:
        check_multimodal(&input->multimodal_input);
        used = sizeof input->multimodal_input;
        break;
    }
    check_zero(input, body + used, sizeof *input, "the unused part of RKLLMInput's union");
}

static void check_cache(const RKLLMPromptCacheParam *cache) {
    check_readable(cache, sizeof *cache, "RKLLMPromptCacheParam");
    check_range(cache->save_prompt_cache, 0, 1, "save_prompt_cache");
    check_string(cache->prompt_cache_path, "prompt_cache_path");
}

void check_infer(const RKLLMInferParam *infer) {
    check_readable(infer, sizeof *infer, "RKLLMInferParam");
    check_range(infer->mode, 0, LAYOUT >= V1_2_0 ? 2 : 1, "mode");
    if (infer->lora_params) {
        check_readable(infer->lora_params, sizeof *infer->lora_params, "RKLLMLoraParam");
        check_string(infer->lora_params->lora_adapter_name, "the run's lora_adapter_name");
    }
    if (infer->prompt_cache_params)
        check_cache(infer->prompt_cache_params);
#if LAYOUT >= V1_2_0
    check_range(infer->keep_history, 0, 1, "keep_history");
#endif
#if LAYOUT >= V1_3_0
    check_range(infer->max_new_tokens, 0, 1 << 20, "max_new_tokens");
    const RKLLMSamplingParam *sampling = infer->sampling_params;
    if (sampling) {
        check_readable(sampling, sizeof *sampling, "RKLLMSamplingParam");
        check_sampling(sampling->top_k, sampling->top_p, sampling->temperature,
                       sampling->repeat_penalty, sampling->frequency_penalty,
                       sampling->presence_penalty, sampling->mirostat, sampling->mirostat_tau,
                       sampling->mirostat_eta);
    }
#endif
}

void check_lora(const RKLLMLoraAdapter *adapter) {
    check_readable(adapter, sizeof *adapter, "RKLLMLoraAdapter");
    check_string(adapter->lora_adapter_path, "lora_adapter_path");
    check_string(adapter->lora_adapter_name, "lora_adapter_name");
    check_range(adapter->scale, -100, 100, "scale");
}

#if LAYOUT >= V1_3_0
void check_callback(const RKLLMCallback *callback) {
    check_readable(callback, sizeof *callback, "RKLLMCallback");
    check_code((const void *)(uintptr_t)callback->result_callback, "result_callback");
    if (callback->tokenizer_callback || callback->embed_callback)
        violation("this model has a tokenizer and an embedding layer of its own");
}
#endif
