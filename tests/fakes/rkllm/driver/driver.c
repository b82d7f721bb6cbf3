/* Calls the double as a program in C would, to look for leaks without Python in the picture. */
#define _GNU_SOURCE
#include "../header.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

RKLLMParam rkllm_createDefaultParam(void);
#if LAYOUT >= V1_3_0
int rkllm_init(LLMHandle *, RKLLMParam *, RKLLMCallback *);
#else
int rkllm_init(LLMHandle *, RKLLMParam *, LLMResultCallback);
#endif
int rkllm_destroy(LLMHandle);
int rkllm_run(LLMHandle, RKLLMInput *, RKLLMInferParam *, void *);
int rkllm_abort(LLMHandle);
int rkllm_is_running(LLMHandle);
int rkllm_load_prompt_cache(LLMHandle, const char *);
int rkllm_release_prompt_cache(LLMHandle);

static LLMHandle handle;
static int tokens_left;

#if LAYOUT >= V1_2_1
static int on_result(RKLLMResult *result, void *userdata, LLMCallState state) {
    (void)result, (void)userdata;
    if (state == RKLLM_RUN_NORMAL && --tokens_left == 0)
        rkllm_abort(handle);
    return 0;
}
#else
static void on_result(RKLLMResult *result, void *userdata, LLMCallState state) {
    (void)result, (void)userdata;
    if (state == RKLLM_RUN_NORMAL && --tokens_left == 0)
        rkllm_abort(handle);
}
#endif

static void run(const char *prompt, RKLLMInferMode mode, const char *save_to, int tokens) {
    RKLLMInput input;
    RKLLMInferParam infer;
    RKLLMPromptCacheParam cache;
    memset(&input, 0, sizeof input);
    memset(&infer, 0, sizeof infer);
    memset(&cache, 0, sizeof cache);
    input.prompt_input = prompt;
    infer.mode = mode;
    cache.save_prompt_cache = 1;
    cache.prompt_cache_path = save_to;
    infer.prompt_cache_params = save_to ? &cache : NULL;
    tokens_left = tokens;
    if (rkllm_run(handle, &input, &infer, NULL))
        exit(1);
}

int main(int count, char **words) {
    if (count != 3)
        return 2;
    RKLLMParam param = rkllm_createDefaultParam();
    param.model_path = words[1];
#if LAYOUT >= V1_3_0
    RKLLMCallback callback;
    memset(&callback, 0, sizeof callback);
    callback.result_callback = on_result;
    if (rkllm_init(&handle, &param, &callback))
        return 1;
#else
    if (rkllm_init(&handle, &param, on_result))
        return 1;
#endif
    run("a lamp in the kitchen", RKLLM_INFER_GENERATE, NULL, 100);
    run("a lamp in the kitchen", RKLLM_INFER_GENERATE, words[2], 1);
    if (rkllm_load_prompt_cache(handle, words[2]))
        return 1;
    run("a lamp in the kitchen is on", RKLLM_INFER_GENERATE, NULL, 5);
    rkllm_release_prompt_cache(handle);
    run("a lamp", RKLLM_INFER_GET_LAST_HIDDEN_LAYER, NULL, 100);
    setenv("RKLLM_SIM_SCRIPT", "late_finish_ms=5;noise=1;answer=\xc3\xbc end", 1);
    run("a lamp", RKLLM_INFER_GENERATE, NULL, 100);
    while (rkllm_is_running(handle))
        usleep(1000);
    return rkllm_destroy(handle);
}
