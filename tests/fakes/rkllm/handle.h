/* What one loaded model is, shared by the files that implement the vendor's functions. */
#ifndef SIMULATED_HANDLE_H
#define SIMULATED_HANDLE_H

#include "language.h"
#include "script.h"
#include "strict.h"

#include <pthread.h>
#include <stdatomic.h>

#define LORAS_MAX 8

typedef struct {
    char *name;
    uint64_t seed;
} Lora;

typedef struct Output {
    struct Output *next;
    float values[];
} Output;

typedef struct Handle {
    uint32_t magic;
    char *model; /* the model file's text, which also has parameters */
    uint64_t seed;
    bool linear;    /* cannot keep or save its state, as Qwen3.5 on 1.3.0 */
    bool forgetful; /* saves and loads its state, and makes no use of it */
    int context_tokens;
    int new_tokens;
    int top_k;
    int hidden;
    int image_outputs; /* of the vision encoder, which stand side by side in an image's row */
    int vocabulary;
    char *tags[3]; /* around and for an image, where they are given at init */
    Context context;
    bool loaded; /* the context came from a file that was not released */
    char *prefix, *postfix; /* the chat template's parts around a turn */
    Lora loras[LORAS_MAX];
    int lora_count;
    Output *outputs; /* buffers that the caller did not release */
    LLMResultCallback callback;
    void *userdata; /* given at init; a run's own comes first */
    atomic_bool running;
    atomic_long abort_at_us; /* when an abort takes effect, 0 when there is none */
    int device; /* -1 where there is no node */
    pthread_t late;
    bool has_late;
} Handle;

/* The handle, or the end of the process where it is none. */
Handle *the_handle(LLMHandle handle, const char *function);
void join_late(Handle *handle);
long now_us(void);
void sleep_us(long us);
void make_noise(const Script *script);
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A handle of the device node; false where it cannot be had. */
bool device_take(int *device);
void device_give(int device);

/* Writes the context, or what is left of it where the script says so. */
bool state_save(const Handle *handle, const Script *script, const char *path);
/* Replaces the context; false where the file is not one of this model. */
bool state_load(Handle *handle, const char *path);

#endif
