/* rkllm_run: prefix comparison, prefill, decoding, events, saving. */
#define _GNU_SOURCE
#include "handle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    Handle *handle;
    Script script;
    void *userdata;
    bool faulty; /* whether the script's faults are meant for this run */
    RKLLMInferMode mode;
    const char *save_path;
    uint64_t seed;
    long new_tokens;
    bool draws; /* whether the next token is drawn, and not the likeliest one */
    long sampled;
    long prefilled;
    float prefill_ms, decode_ms;
    bool failed;
    const char *answer;
    char held[8]; /* the bytes of a character that is not complete yet */
    int held_bytes;
} Run;

typedef struct {
    const float *values; /* NULL for text */
    size_t width;
} Row;

typedef struct {
    int32_t *ids;
    size_t count;
    Row *rows; /* what each token stands for */
    size_t rows_count;
    size_t first_row; /* the first token of an image or a sound, SIZE_MAX where there is none */
} Prompt;

static int deliver(Run *run, RKLLMResult *result, LLMCallState state) {
    make_noise(&run->script);
#if LAYOUT >= V1_2_1
    int answer = run->handle->callback(result, run->userdata, state);
    if (answer < 0 || answer > (LAYOUT >= V1_3_0 ? 2 : 1))
        violation("the callback returned %d", answer);
    if (answer == 1)
        violation("the callback paused the run, which nothing of ours resumes");
    return answer;
#else
    run->handle->callback(result, run->userdata, state);
    return 0;
#endif
}

static void finish(Run *run) {
    RKLLMResult result = {0};
#if LAYOUT >= V1_2_1
    result.perf.prefill_time_ms = run->prefill_ms;
    result.perf.prefill_tokens = (int)run->prefilled;
    result.perf.generate_time_ms = run->decode_ms;
    result.perf.generate_tokens = (int)(run->sampled ? run->sampled - 1 : 0);
    result.perf.memory_usage_mb = 64;
#endif
    deliver(run, &result, run->failed ? RKLLM_RUN_ERROR : RKLLM_RUN_FINISH);
}

static void *finish_late(void *argument) {
    Run *run = argument;
    sleep_us(script_number(&run->script, "late_finish_ms", 0) * 1000);
    finish(run);
    atomic_store(&run->handle->running, false);
    script_close(&run->script);
    free(run);
    return NULL;
}

static bool fault(Run *run, const char *key) {
    return run->faulty && script_fault(&run->script, key);
}

static bool is_aborted(const Run *run) {
    long at = atomic_load(&run->handle->abort_at_us);
    return at && now_us() >= at;
}

/* The caller's buffers do not outlive the callback, so that a pointer kept is a pointer to junk. */
static void deliver_piece(Run *run, const Piece *piece, LLMCallState state, const char *text) {
    char *copy = text ? strdup(text) : NULL;
    RKLLMResult *result = calloc(1, sizeof *result);
    result->text = copy;
    result->token_id = piece->id;
    deliver(run, result, state);
    memset(result, 0xa5, sizeof *result);
    free(result);
    if (copy)
        memset(copy, 0xa5, strlen(copy));
    free(copy);
}

static int character_bytes(unsigned char first) {
    return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

static void say(Run *run, const Piece *piece) {
    if (run->faulty && script_number(&run->script, "null_text", -1) == run->sampled) {
        deliver_piece(run, piece, RKLLM_RUN_NORMAL, NULL);
        return;
    }
    if (piece->bytes != 1 || (unsigned char)piece->text[0] < 0x80) {
        deliver_piece(run, piece, RKLLM_RUN_NORMAL, piece->text);
        return;
    }
    run->held[run->held_bytes++] = piece->text[0];
    run->held[run->held_bytes] = '\0';
    bool whole = run->held_bytes == character_bytes((unsigned char)run->held[0]);
    bool parts = script_number(&run->script, "waiting_bytes", 0);
    const char *text = parts ? piece->text : whole ? run->held : NULL;
    deliver_piece(run, piece, whole ? RKLLM_RUN_NORMAL : RKLLM_RUN_WAITING, text);
    if (whole)
        run->held_bytes = 0;
}

static int next_pieces(Run *run, Piece pieces[8]) {
    const Context *context = &run->handle->context;
    if (run->answer) {
        if (*run->answer)
            run->answer += pieces_of_text(run->answer, pieces);
        return 1; /* an empty piece is the end of the turn */
    }
    uint64_t state = context->count ? context->states[context->count - 1] : run->seed;
    if (run->draws)
        state = next_state(state, (int32_t)now_us());
    return choose_pieces(state, run->sampled, pieces);
}

/* The window does not stop a run: the older half goes, the rest is computed anew. */
static void shift_window(Run *run) {
    Context *context = &run->handle->context;
    Context rest = {0};
    for (size_t i = context->count / 2; i < context->count; i++)
        context_push(&rest, context->ids[i], run->seed);
    context_free(context);
    *context = rest;
}

static void keep(Run *run, int32_t id) {
    if (run->handle->context.count >= (size_t)run->handle->context_tokens)
        shift_window(run);
    context_push(&run->handle->context, id, run->seed);
}

/* One token; false ends the run. The last sampled token is not part of the context, as nothing
 * was computed from it, but a release before 1.3.0 that is aborted has already done so. */
static bool decode(Run *run, const Piece *piece) {
    char key[32];
    run->sampled++;
    snprintf(key, sizeof key, "token.%ld", run->sampled);
    if (fault(run, key)) {
        run->failed = true;
        return false;
    }
    sleep_us(script_number(&run->script, "token_us", 0));
    if (!piece->bytes) {
        deliver_piece(run, piece, RKLLM_RUN_NORMAL, "");
        return false;
    }
    say(run, piece);
    if (is_aborted(run)) {
        if (LAYOUT < V1_3_0)
            keep(run, piece->id);
        return false;
    }
    if (run->sampled >= run->new_tokens)
        return false;
    keep(run, piece->id);
    return true;
}

static void generate(Run *run) {
    long start = now_us();
    for (bool more = true; more && !is_aborted(run);) {
        Piece pieces[8];
        memset(pieces, 0, sizeof pieces);
        int count = next_pieces(run, pieces);
        for (int i = 0; i < count && more; i++)
            more = decode(run, &pieces[i]);
    }
    run->decode_ms = (float)(now_us() - start) / 1000;
}

/* The token that a greedy run would say next has the highest logit. */
static void fill_logits(float *values, int width, uint64_t state, long said) {
    Piece pieces[8];
    memset(pieces, 0, sizeof pieces);
    choose_pieces(state, said, pieces);
    for (int i = 0; i < width; i++)
        values[i] = (float)(uint16_t)(state + (uint64_t)i * 40503) / 65536;
    values[pieces[0].id] = 8;
}

static void give_rows(Run *run) {
    Handle *handle = run->handle;
    bool logits = run->mode == RKLLM_INFER_GET_LOGITS;
    int width = logits ? handle->vocabulary : handle->hidden;
    int rows = run->prefilled ? (int)run->prefilled : 1;
    Output *output = malloc(sizeof *output + sizeof(float) * (size_t)width * (size_t)rows);
    size_t first = handle->context.count - (size_t)rows;
    for (int row = 0; row < rows; row++) {
        float *values = output->values + (size_t)row * (size_t)width;
        uint64_t state = handle->context.states[first + (size_t)row];
        if (logits)
            fill_logits(values, width, state, run->sampled);
        else
            for (int i = 0; i < width; i++)
                values[i] = (float)(int16_t)next_state(state, i) / 32768;
    }
    RKLLMResult result = {0};
#if LAYOUT >= V1_2_0
    if (logits)
        result.logits = (RKLLMResultLogits){output->values, width, rows};
#endif
    if (!logits)
        result.last_hidden_layer = (RKLLMResultLastHiddenLayer){output->values, width, rows};
    run->sampled = 1;
    if (deliver(run, &result, LAYOUT == V1_1 ? RKLLM_RUN_GET_LAST_HIDDEN_LAYER : RKLLM_RUN_NORMAL) == 2) {
        free(output);
        return;
    }
    output->next = handle->outputs;
    handle->outputs = output;
}

static void print_table(const Run *run) {
    const char *level = getenv("RKLLM_LOG_LEVEL");
    if (!level || atoi(level) < 1)
        return;
    log_line(" Stage         Total Time (ms)  Tokens    Time per Token (ms)      Tokens per Second");
    log_line(" Prefill       %.2f           %ld        0.00                     0.00",
             (double)run->prefill_ms, run->prefilled);
    log_line(" Generate      %.2f           %ld        0.00                     0.00",
             (double)run->decode_ms, run->sampled ? run->sampled - 1 : 0);
}

static bool save(Run *run) {
    if (!run->save_path || run->mode == RKLLM_INFER_GET_LOGITS)
        return true;
    if (run->handle->linear) {
        log_line("The qwen35 model does not support saving prompt cache!");
        return true;
    }
    return !fault(run, "save") && state_save(run->handle, &run->script, run->save_path);
}

/* Compares from the start, forgets what differs, computes what is new. Up to 1.2.3 it compares up to
 * the first image (issue 492); what later releases compare there is not known, so the worst is
 * played: only the ids of the tags, and not what the image is. */
static bool prefill(Run *run, const Prompt *prompt, bool append) {
    Handle *handle = run->handle;
    Context *context = &handle->context;
    const int32_t *ids = prompt->ids;
    size_t count = prompt->count, same = 0;
    size_t comparable = LAYOUT >= V1_3_0 ? count : prompt->first_row;
    if (append) {
        same = context->count;
    } else if (handle->linear) {
        log_line("Current model does not support kv cache reuse. clearing all caches.");
    } else if (!handle->forgetful && (LAYOUT >= V1_2_0 || handle->loaded)) {
        while (same < comparable && same < context->count && context->ids[same] == ids[same])
            same++;
    }
    if (same < context->count && handle->loaded && LAYOUT < V1_2_0)
        same = same < count ? same : count;
    context->count = same;
    size_t from = append ? 0 : same;
    run->prefilled = (long)(count - from);
    long start = now_us();
    sleep_us(script_number(&run->script, "prefill_us", 0) * run->prefilled);
    if (fault(run, "prefill"))
        return false;
    for (size_t i = from; i < count; i++) {
        context_push(context, ids[i], run->seed);
        if (i < prompt->rows_count && prompt->rows[i].values)
            context_see(context, prompt->rows[i].values, prompt->rows[i].width);
    }
    run->prefill_ms = (float)(now_us() - start) / 1000;
    return true;
}

static void add_text(Prompt *prompt, const char *text) {
    prompt->count = tokenize(text, &prompt->ids, prompt->count);
}

/* Images, or sounds, and the tags that stand for them. */
typedef struct {
    const char *place, *start, *end, *content;
    const float *values;
    size_t count, tokens, width;
} Media;

static void add_media(Prompt *prompt, Media *media) {
    if (!media->count)
        violation("the prompt has more %s than were given", media->place);
    add_text(prompt, media->start);
    for (size_t token = 0; token < media->tokens; token++) {
        size_t before = prompt->count;
        add_text(prompt, media->content);
        if (prompt->count != before + 1)
            violation("the content tag '%s' is not one token", media->content);
        if (prompt->first_row > before)
            prompt->first_row = before;
        prompt->rows = realloc(prompt->rows, prompt->count * sizeof *prompt->rows);
        while (prompt->rows_count < before)
            prompt->rows[prompt->rows_count++] = (Row){0};
        prompt->rows[prompt->rows_count++] = (Row){media->values, media->width};
        media->values += media->width;
    }
    add_text(prompt, media->end);
    media->count--;
}

static void add_multimodal(Prompt *prompt, char *text, Media *media, int kinds) {
    for (;;) {
        char *next = NULL;
        Media *found = NULL;
        for (int kind = 0; kind < kinds; kind++) {
            char *place = strstr(text, media[kind].place);
            if (place && (!next || place < next)) {
                next = place;
                found = &media[kind];
            }
        }
        if (!next)
            break;
        *next = '\0';
        add_text(prompt, text);
        add_media(prompt, found);
        text = next + strlen(found->place);
    }
    add_text(prompt, text);
    for (int kind = 0; kind < kinds; kind++)
        if (media[kind].count)
            violation("%zu %s were given that the prompt has no place for", media[kind].count,
                      media[kind].place);
}

static void read_multimodal(const Handle *handle, const RKLLMMultiModalInput *input,
                            Prompt *prompt) {
    size_t wide = (size_t)(handle->hidden * handle->image_outputs);
#if LAYOUT >= V1_3_0
    Media media[] = {
        {"<image>", input->image.image_start, input->image.image_end, input->image.image_content,
         input->image.image_embed, input->image.n_image, input->image.n_image_tokens, wide},
#if LAYOUT >= V1_3_1
        {"<audio>", input->audio.audio_start, input->audio.audio_end, input->audio.audio_content,
         input->audio.audio_embed, input->audio.n_audio, input->audio.n_audio_tokens,
         (size_t)handle->hidden},
#endif
    };
#else
    check_tags(handle->tags[0], handle->tags[1], handle->tags[2], "the tags given at init");
    size_t images = 1;
#if LAYOUT >= V1_2_1B1
    images = input->n_image;
#endif
    Media media[] = {{"<image>", handle->tags[0], handle->tags[1], handle->tags[2],
                      input->image_embed, images, input->n_image_tokens, wide}};
#endif
    int kinds = (int)(sizeof media / sizeof *media);
    size_t all = 0;
    for (int kind = 0; kind < kinds; all += media[kind++].count)
        if (media[kind].values)
            check_rows(media[kind].values, media[kind].count, media[kind].tokens, media[kind].width,
                       media[kind].place);
    if (!all)
        violation("a multimodal input has neither an image nor a sound");
    char *text = strdup(input->prompt);
    add_text(prompt, handle->prefix);
    add_multimodal(prompt, text, media, kinds);
    free(text);
}

static Prompt read_prompt(const Handle *handle, const RKLLMInput *input) {
    Prompt prompt = {.first_row = SIZE_MAX};
    switch (input->input_type) {
    case RKLLM_INPUT_PROMPT:
        add_text(&prompt, handle->prefix);
        add_text(&prompt, input->prompt_input);
        add_text(&prompt, handle->postfix);
        break;
    case RKLLM_INPUT_TOKEN:
        prompt.count = input->token_input.n_tokens;
        prompt.ids = malloc(prompt.count * sizeof *prompt.ids + 1);
        memcpy(prompt.ids, input->token_input.input_ids, prompt.count * sizeof *prompt.ids);
        break;
    case RKLLM_INPUT_MULTIMODAL:
        read_multimodal(handle, &input->multimodal_input, &prompt);
        break;
    default:
        violation("input_type %d is not simulated", input->input_type);
    }
    return prompt;
}

static void free_prompt(Prompt *prompt) {
    free(prompt->ids);
    free(prompt->rows);
}

static const char *text_of(const RKLLMInput *input) {
    if (input->input_type == RKLLM_INPUT_MULTIMODAL)
        return input->multimodal_input.prompt;
    return input->input_type == RKLLM_INPUT_PROMPT ? input->prompt_input : "";
}

static uint64_t run_seed(const Handle *handle, const RKLLMInferParam *infer) {
    if (!infer->lora_params)
        return handle->seed;
    for (int i = 0; i < handle->lora_count; i++)
        if (!strcmp(handle->loras[i].name, infer->lora_params->lora_adapter_name))
            return handle->loras[i].seed;
    violation("the run names the adapter '%s', which was not loaded",
              infer->lora_params->lora_adapter_name);
}

static Run *begin(Handle *handle, const RKLLMInput *input, const RKLLMInferParam *infer,
                  void *userdata) {
    Run *run = calloc(1, sizeof *run);
    run->handle = handle;
    run->userdata = userdata ? userdata : handle->userdata;
    run->mode = infer->mode;
    run->seed = run_seed(handle, infer);
    run->new_tokens = handle->new_tokens;
#if LAYOUT >= V1_3_0
    if (infer->max_new_tokens > 0)
        run->new_tokens = infer->max_new_tokens;
#endif
    if (infer->prompt_cache_params && infer->prompt_cache_params->save_prompt_cache)
        run->save_path = infer->prompt_cache_params->prompt_cache_path;
    script_open(&run->script, handle->model);
    const char *match = script_text(&run->script, "match");
    run->faulty = !match || strstr(text_of(input), match) != NULL;
    static __thread char answer[4096];
    int top_k = handle->top_k;
#if LAYOUT >= V1_3_0
    if (infer->sampling_params)
        top_k = infer->sampling_params->top_k;
#endif
    run->draws = top_k != 1 && script_number(&run->script, "draw", 0);
    const char *given = run->faulty ? script_text(&run->script, "answer") : NULL;
    if (given)
        run->answer = strcpy(answer, given);
    return run;
}

static int end(Run *run, int status, bool with_event) {
    Handle *handle = run->handle;
    if (status == 0 && with_event && script_number(&run->script, "late_finish_ms", 0) > 0) {
        handle->has_late = pthread_create(&handle->late, NULL, finish_late, run) == 0;
        return 0;
    }
    if (with_event)
        finish(run);
    print_table(run);
    status = run->failed ? -1 : status;
    script_close(&run->script);
    free(run);
    atomic_store(&handle->running, false);
    return status;
}

int rkllm_run(LLMHandle opaque, RKLLMInput *input, RKLLMInferParam *infer, void *userdata) {
    Handle *handle = the_handle(opaque, "rkllm_run");
    check_input(input);
    check_infer(infer);
    if (atomic_exchange(&handle->running, true))
        violation("two runs at once on one handle");
    join_late(handle);
    atomic_store(&handle->abort_at_us, 0);
    Run *run = begin(handle, input, infer, userdata);
    Prompt prompt = read_prompt(handle, input);
    bool append = false;
#if LAYOUT >= V1_2_0
    append = infer->keep_history == 1;
#endif
    long room = handle->context_tokens - 4;
    if ((long)prompt.count > room) {
        log_line("prompt gather than max context (prompt: %zu tokens, max context: %ld)",
                 prompt.count, room);
        free_prompt(&prompt);
        return end(run, -1, false);
    }
    bool good = prefill(run, &prompt, append);
    free_prompt(&prompt);
    if (!good) {
        run->failed = true;
        return end(run, -1, true);
    }
    if (run->mode == RKLLM_INFER_GENERATE)
        generate(run);
    else
        give_rows(run);
    if (!run->failed)
        run->failed = !save(run);
    return end(run, 0, true);
}

int rkllm_run_async(LLMHandle handle, RKLLMInput *input, RKLLMInferParam *infer, void *userdata) {
    (void)handle, (void)input, (void)infer, (void)userdata;
    violation("rkllm_run_async was called; it does not work on half of the releases");
}
