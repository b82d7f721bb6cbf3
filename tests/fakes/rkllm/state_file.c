/* The prompt-cache file: 32-bit words with the token count as the third, the token ids, then what
 * stands for keys and values, then a footer of 16 bytes that begins with `nseg`. */
#include "handle.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOOTER_BYTES 16
#define FIRST_WORD (LAYOUT >= V1_3_0 ? 0 : 43)

bool state_save(const Handle *handle, const Script *script, const char *path) {
    if (script_asks(script, "save", "none"))
        return true;
    FILE *file = fopen(path, "wb");
    if (!file)
        return false;
    const Context *context = &handle->context;
    uint32_t head[3] = {FIRST_WORD, 8, (uint32_t)context->count};
    char footer[FOOTER_BYTES] = "nseg";
    bool empty = script_asks(script, "save", "empty");
    bool half = script_asks(script, "save", "half");
    bool torn = half || script_asks(script, "save", "torn");
    bool good = true;
    memcpy(footer + 8, &handle->seed, sizeof handle->seed);
    if (!empty) {
        good &= fwrite(head, sizeof head, 1, file) == 1;
        size_t ids = torn ? context->count / 2 : context->count;
        good &= fwrite(context->ids, sizeof *context->ids, ids, file) == ids;
    }
    if (half) {
        fflush(file);
        kill(getpid(), SIGKILL);
    }
    if (!empty && !torn) {
        size_t states = fwrite(context->states, sizeof *context->states, context->count, file);
        good &= states == context->count && fwrite(footer, sizeof footer, 1, file) == 1;
    }
    return (fclose(file) == 0) & good;
}

bool state_load(Handle *handle, const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    uint32_t head[3];
    char footer[FOOTER_BYTES];
    Context context = {0};
    bool good = fread(head, sizeof head, 1, file) == 1 && head[2] <= (uint32_t)handle->context_tokens;
    if (good) {
        for (uint32_t i = 0; i < head[2]; i++)
            context_push(&context, 0, 0);
        good = fread(context.ids, sizeof *context.ids, head[2], file) == head[2] &&
               fread(context.states, sizeof *context.states, head[2], file) == head[2] &&
               fread(footer, sizeof footer, 1, file) == 1 && !memcmp(footer, "nseg", 4) &&
               !memcmp(footer + 8, &handle->seed, sizeof handle->seed) && fgetc(file) == EOF;
    }
    fclose(file);
    if (!good) {
        context_free(&context);
        return false;
    }
    context_free(&handle->context);
    handle->context = context;
    return true;
}
