/* The vendor's functions but for rkllm_run; see header.h for what LAYOUT means. */
#define _GNU_SOURCE
#include "handle.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAGIC 0x524b4c4du

#ifndef UNNAMED
__attribute__((used)) static const char *const sdk =
    "RKLLM SDK (version: " VERSION " | simulated)";
#endif

/* Buffered as the C library likes it: whoever wants to read the log has to flush it. */
void log_line(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("I rkllm: ", stdout);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}

long now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void sleep_us(long us) {
    if (us <= 0)
        return;
    struct timespec rest = {us / 1000000, us % 1000000 * 1000};
    while (nanosleep(&rest, &rest) && errno == EINTR)
        ;
}

void make_noise(const Script *script) {
    for (long i = script_number(script, "noise", 0); i > 0; i--) {
        printf("{\"not\": \"a frame\"}\xff\xfe no end of line %ld ", i);
        fprintf(stderr, "E rkllm: %*d\n", 300, (int)i);
    }
}

Handle *the_handle(LLMHandle opaque, const char *function) {
    check_readable(opaque, sizeof(Handle), function);
    Handle *handle = opaque;
    if (handle->magic != MAGIC)
        violation("%s: %p is no handle, or one that was destroyed", function, opaque);
    return handle;
}

void join_late(Handle *handle) {
    if (handle->has_late)
        pthread_join(handle->late, NULL);
    handle->has_late = false;
}

static Handle *idle_handle(LLMHandle opaque, const char *function) {
    Handle *handle = the_handle(opaque, function);
    if (atomic_load(&handle->running))
        violation("%s during a run", function);
    join_late(handle);
    return handle;
}

RKLLMParam rkllm_createDefaultParam(void) {
    RKLLMParam param;
    memset(&param, 0, sizeof param);
    param.max_context_len = 4096;
    param.max_new_tokens = 512;
    param.top_k = 40;
    param.top_p = 0.9f;
    param.temperature = 0.8f;
    param.repeat_penalty = 1.1f;
    param.mirostat_tau = 5.0f;
    param.mirostat_eta = 0.1f;
    param.skip_special_token = true;
#if LAYOUT >= V1_2_0
    param.extend_param.enabled_cpus_num = 4;
#endif
    return param;
}

static bool fits(const RKLLMParam *param, const Script *script) {
    long limit = script_number(script, "max_context_limit", 4096);
    long cores = script_number(script, "npu_core_num", 3);
    log_line("rkllm-runtime version: %s, rknpu driver version: 0.9.8, platform: RK3588", VERSION);
    log_line("loading rkllm model from %s", param->model_path);
    log_line("rkllm-toolkit version: %s, max_context_limit: %ld, npu_core_num: %ld, "
             "target_platform: RK3588, model_dtype: W8A8", VERSION, limit, cores);
    if (param->max_context_len > limit) {
        log_line("max_context[%d] must be less than the model's max_context_limit[%ld]",
                 param->max_context_len, limit);
        return false;
    }
#if LAYOUT >= V1_2_0
    if (param->extend_param.enabled_cpus_num < cores) {
        log_line("The number of enabled CPUs must be greater than or equal to the number of NPU "
                 "cores.");
        return false;
    }
#endif
    if (script_asks(script, "init", "oom")) {
        log_line("failed to malloc npu memory, size: 1048576, flags: 0x2");
        log_line("rkllm_init failed");
        return false;
    }
    return true;
}

static Handle *make_handle(const RKLLMParam *param, char *model, const Script *script) {
    const char *kind = script_text(script, "kind");
    Handle *handle = calloc(1, sizeof *handle);
    handle->magic = MAGIC;
    handle->model = model;
    handle->seed = hash_bytes(1, model, strlen(model));
    handle->linear = kind && !strcmp(kind, "linear");
    handle->forgetful = kind && !strcmp(kind, "forgetful");
    handle->context_tokens = param->max_context_len;
    handle->new_tokens = param->max_new_tokens;
    handle->top_k = param->top_k;
    handle->hidden = (int)script_number(script, "hidden", 16);
    handle->image_outputs = (int)script_number(script, "image_outputs", 1);
    handle->vocabulary = 151936;
#if LAYOUT < V1_3_0
    const char *tags[] = {param->img_start, param->img_end, param->img_content};
    for (int i = 0; i < 3; i++)
        handle->tags[i] = tags[i] ? strdup(tags[i]) : NULL;
#endif
    /* 1.1.x has no template of its own, later releases wrap a prompt until told not to. */
    handle->prefix = strdup(LAYOUT >= V1_2_0 ? "<|im_start|>user\n" : "");
    handle->postfix = strdup(LAYOUT >= V1_2_0 ? "<|im_end|>\n<|im_start|>assistant\n" : "");
    return handle;
}

static Handle *load_model(const RKLLMParam *param) {
    Script script;
    char *model = read_text(param->model_path);
    script_open(&script, model);
    make_noise(&script);
    Handle *handle = NULL;
    bool known = model && !strncmp(model, "RKLLM-SIM", 9);
    if (!model)
        log_line("failed to open %s", param->model_path);
    else if (!known)
        log_line("invalid rknn llm model magic");
    sleep_us(script_number(&script, "load_us", 0));
    if (!script_fault(&script, "init") && known && fits(param, &script) &&
        !script_asks(&script, "init", "silent"))
        handle = make_handle(param, model, &script);
    else
        free(model);
    script_close(&script);
    return handle;
}

static bool is_silent(void) {
    Script script;
    script_open(&script, NULL);
    bool silent = script_asks(&script, "init", "silent");
    script_close(&script);
    return silent;
}

#if LAYOUT >= V1_3_0
int rkllm_init(LLMHandle *out, RKLLMParam *param, RKLLMCallback *callback) {
    check_callback(callback);
    LLMResultCallback result_callback = callback->result_callback;
    void *userdata = callback->result_userdata;
#else
int rkllm_init(LLMHandle *out, RKLLMParam *param, LLMResultCallback result_callback) {
    check_code((const void *)(uintptr_t)result_callback, "the callback");
    void *userdata = NULL;
#endif
    check_readable(out, sizeof *out, "the place for the handle");
    check_param(param);
    int device;
    Handle *handle = device_take(&device) ? load_model(param) : NULL;
    *out = handle;
    if (!handle) {
        device_give(device);
        return is_silent() ? 0 : -1;
    }
    handle->device = device;
    handle->callback = result_callback;
    handle->userdata = userdata;
    return 0;
}

int rkllm_destroy(LLMHandle opaque) {
    Handle *handle = idle_handle(opaque, "rkllm_destroy");
    for (int i = 0; i < handle->lora_count; i++)
        free(handle->loras[i].name);
    while (handle->outputs) {
        Output *output = handle->outputs;
        handle->outputs = output->next;
        free(output);
    }
    for (int i = 0; i < 3; i++)
        free(handle->tags[i]);
    context_free(&handle->context);
    free(handle->model);
    free(handle->prefix);
    free(handle->postfix);
    device_give(handle->device);
    handle->magic = 0;
    free(handle);
    return 0;
}

int rkllm_abort(LLMHandle opaque) {
    Handle *handle = the_handle(opaque, "rkllm_abort");
    if (!atomic_load(&handle->running))
        return -1;
    Script script;
    script_open(&script, handle->model);
    long wait_us = script_number(&script, "ignore_abort_ms", 0) * 1000;
    script_close(&script);
    long none = 0;
    atomic_compare_exchange_strong(&handle->abort_at_us, &none, now_us() + wait_us);
    return 0;
}

int rkllm_is_running(LLMHandle opaque) {
    return atomic_load(&the_handle(opaque, "rkllm_is_running")->running);
}

int rkllm_load_lora(LLMHandle opaque, RKLLMLoraAdapter *adapter) {
    Handle *handle = idle_handle(opaque, "rkllm_load_lora");
    check_lora(adapter);
    char *text = read_text(adapter->lora_adapter_path);
    if (!text || handle->lora_count == LORAS_MAX) {
        free(text);
        return -1;
    }
    uint64_t seed = hash_bytes(handle->seed, text, strlen(text));
    seed = hash_bytes(seed, &adapter->scale, sizeof adapter->scale);
    handle->loras[handle->lora_count++] = (Lora){strdup(adapter->lora_adapter_name), seed};
    free(text);
    return 0;
}

int rkllm_load_prompt_cache(LLMHandle opaque, const char *path) {
    Handle *handle = idle_handle(opaque, "rkllm_load_prompt_cache");
    check_string(path, "the prompt cache's path");
    if (handle->loaded)
        violation("a prompt cache is loaded over another one that was not released");
    Script script;
    script_open(&script, handle->model);
    bool failed = script_fault(&script, "load");
    script_close(&script);
    if (failed || handle->linear || !state_load(handle, path)) {
        log_line("failed to load prompt cache %s", path);
        return -1;
    }
    handle->loaded = true;
    return 0;
}

int rkllm_release_prompt_cache(LLMHandle opaque) {
    Handle *handle = idle_handle(opaque, "rkllm_release_prompt_cache");
    if (!handle->loaded)
        return -1;
    handle->loaded = false;
    context_free(&handle->context);
    return 0;
}

#if LAYOUT >= V1_2_1
int rkllm_clear_kv_cache(LLMHandle opaque, int keep_system_prompt, int *start_pos, int *end_pos) {
    if (start_pos || end_pos) {
        log_line("start_pos and end_pos are only valid when keep_history == 0 and the generation has "
                 "been paused by returning 1 in the callback!");
        return -1;
    }
#elif LAYOUT >= V1_2_0
int rkllm_clear_kv_cache(LLMHandle opaque, int keep_system_prompt) {
#endif
#if LAYOUT >= V1_2_0
    Handle *handle = idle_handle(opaque, "rkllm_clear_kv_cache");
    if (keep_system_prompt != 0 && keep_system_prompt != 1)
        violation("keep_system_prompt is %d", keep_system_prompt);
    context_free(&handle->context);
    return 0;
}

static void replace(char **place, const char *text) {
    free(*place);
    *place = strdup(text);
}

int rkllm_set_chat_template(LLMHandle opaque, const char *system, const char *prefix,
                            const char *postfix) {
    Handle *handle = idle_handle(opaque, "rkllm_set_chat_template");
    check_string(system, "the template's system prompt");
    check_string(prefix, "the template's prefix");
    check_string(postfix, "the template's postfix");
    log_line("reset chat template:");
    context_free(&handle->context);
    replace(&handle->prefix, prefix);
    replace(&handle->postfix, postfix);
    return 0;
}
#endif

#if LAYOUT >= V1_2_1
int rkllm_get_kv_cache_size(LLMHandle opaque, int *sizes) {
    Handle *handle = idle_handle(opaque, "rkllm_get_kv_cache_size");
    check_readable(sizes, sizeof *sizes, "the place for the cache sizes");
    sizes[0] = (int)handle->context.count;
    return 0;
}

int rkllm_set_function_tools(LLMHandle opaque, const char *system, const char *tools,
                             const char *response) {
    Handle *handle = idle_handle(opaque, "rkllm_set_function_tools");
    check_string(system, "the tools' system prompt");
    check_string(tools, "the tools");
    check_string(response, "tool_response_str");
    context_free(&handle->context);
    return 0;
}

int rkllm_set_cross_attn_params(LLMHandle opaque, RKLLMCrossAttnParam *params) {
    idle_handle(opaque, "rkllm_set_cross_attn_params");
    check_readable(params, sizeof *params, "RKLLMCrossAttnParam");
    return 0;
}
#endif

/* For tests: the output buffers that the callback did not give back. */
int simulated_kept_outputs(LLMHandle opaque) {
    int count = 0;
    for (Output *output = the_handle(opaque, "simulated_kept_outputs")->outputs; output;
         output = output->next)
        count++;
    return count;
}
