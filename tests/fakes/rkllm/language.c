#include "language.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *const WORDS[] = {
    " the", " lamp", " in", " kitchen", " is", " on", " now", " warm", " door", " stays", " shut",
    " rain", " will", " come", " tonight", " seven", " degrees", " outside", " music", " plays",
    " softly", " garden", " window", " open", " please", " wait", " done", " yes", " no", " maybe",
};
static const char *const CHARACTERS[] = {"\xc3\xbc", "\xc3\x9f", "\xe4\xbd\xa0", "\xf0\x9f\x98\x80"};
#define COUNT(array) (sizeof(array) / sizeof *(array))

uint64_t hash_bytes(uint64_t seed, const void *data, size_t size) {
    uint64_t hash = seed ^ 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    return hash;
}

uint64_t next_state(uint64_t before, int32_t id) {
    uint64_t mixed = (before ^ (uint32_t)id) * 0x9e3779b97f4a7c15u;
    mixed ^= mixed >> 29;
    mixed *= 0xbf58476d1ce4e5b9u;
    return mixed ^ (mixed >> 32);
}

void context_push(Context *context, int32_t id, uint64_t seed) {
    if (context->count == context->room) {
        context->room = context->room ? context->room * 2 : 64;
        context->ids = realloc(context->ids, context->room * sizeof *context->ids);
        context->states = realloc(context->states, context->room * sizeof *context->states);
    }
    uint64_t before = context->count ? context->states[context->count - 1] : seed;
    context->ids[context->count] = id;
    context->states[context->count++] = next_state(before, id);
}

void context_see(Context *context, const float *row, size_t width) {
    uint64_t *state = &context->states[context->count - 1];
    *state = hash_bytes(*state, row, width * sizeof *row);
}

void context_free(Context *context) {
    free(context->ids);
    free(context->states);
    memset(context, 0, sizeof *context);
}

static size_t token_bytes(const char *text) {
    if (text[0] == '<' && text[1] == '|') {
        const char *end = strstr(text + 2, "|>");
        if (end && end - text < 32)
            return (size_t)(end - text) + 2;
    }
    size_t size = text[0] == ' ';
    while (size < 32 && isascii((unsigned char)text[size]) && isalpha((unsigned char)text[size]))
        size++;
    return size > 1 || isalpha((unsigned char)text[0]) ? size : 1;
}

static int32_t token_id(const char *text, size_t size) {
    if (size == 1)
        return (unsigned char)*text;
    return (int32_t)(256 + hash_bytes(size, text, size) % 151000);
}

size_t tokenize(const char *text, int32_t **ids, size_t count) {
    *ids = realloc(*ids, (count + strlen(text) + 1) * sizeof **ids);
    while (*text) {
        size_t size = token_bytes(text);
        (*ids)[count++] = token_id(text, size);
        text += size;
    }
    return count;
}

static Piece piece_of(const char *text, size_t size) {
    Piece piece = {.id = token_id(text, size), .bytes = (int)size};
    memcpy(piece.text, text, size);
    return piece;
}

int pieces_of_text(const char *text, Piece *piece) {
    size_t size = token_bytes(text);
    *piece = piece_of(text, size);
    return (int)size;
}

int choose_pieces(uint64_t state, long said, Piece pieces[8]) {
    if (said >= 3 && (state >> 40) % 12 == 0) {
        pieces[0] = (Piece){.id = token_id(END_OF_TURN, strlen(END_OF_TURN))};
        return 1;
    }
    if ((state >> 20) % 8 == 0) {
        const char *character = CHARACTERS[state % COUNT(CHARACTERS)];
        int count = (int)strlen(character);
        for (int i = 0; i < count; i++)
            pieces[i] = piece_of(character + i, 1);
        return count;
    }
    const char *word = WORDS[state % COUNT(WORDS)];
    pieces[0] = piece_of(word, strlen(word));
    return 1;
}
