#define _GNU_SOURCE
#include "script.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *read_text(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    size_t size = 0, room = 4096;
    char *text = malloc(room);
    for (;;) {
        size += fread(text + size, 1, room - 1 - size, file);
        if (size < room - 1)
            break;
        text = realloc(text, room *= 2);
    }
    fclose(file);
    text[size] = '\0';
    return text;
}

void script_open(Script *script, const char *model) {
    const char *value = getenv("RKLLM_SIM_SCRIPT");
    bool is_file = value && value[0] == '/';
    script->path = is_file ? strdup(value) : NULL;
    script->script = is_file ? read_text(value) : value ? strdup(value) : NULL;
    script->model = model;
}

void script_close(Script *script) {
    free(script->script);
    free(script->path);
}

static const char *find(const char *text, const char *key) {
    static __thread char value[4096];
    size_t length = strlen(key);
    while (text && *text) {
        size_t line = strcspn(text, "\n;");
        if (line > length && !strncmp(text, key, length) && text[length] == '=') {
            snprintf(value, sizeof value, "%.*s", (int)(line - length - 1), text + length + 1);
            return value;
        }
        text += line + (text[line] != '\0');
    }
    return NULL;
}

const char *script_text(const Script *script, const char *key) {
    const char *value = find(script->script, key);
    return value ? value : find(script->model, key);
}

long script_number(const Script *script, const char *key, long otherwise) {
    const char *value = script_text(script, key);
    return value ? strtol(value, NULL, 10) : otherwise;
}

static bool take(const Script *script, const char *key, const char *what) {
    const char *value = script_text(script, key);
    size_t length = strlen(what);
    if (!value || strncmp(value, what, length) || (value[length] && value[length] != ' '))
        return false;
    if (script->path && strstr(value, " once"))
        unlink(script->path);
    return true;
}

bool script_asks(const Script *script, const char *key, const char *what) {
    return take(script, key, what);
}

bool script_fault(const Script *script, const char *key) {
    if (take(script, key, "crash")) {
        signal(SIGSEGV, SIG_DFL);
        raise(SIGSEGV);
    }
    if (take(script, key, "abort"))
        abort();
    if (take(script, key, "exit"))
        _exit(3);
    if (take(script, key, "hang"))
        for (;;)
            pause();
    if (take(script, key, "overrun")) {
        volatile char *block = malloc(8);
        block[8] = 1;
        free((void *)block);
    }
    return take(script, key, "error");
}
