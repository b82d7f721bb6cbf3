/* A small deterministic language whose answers depend on the whole context.
 *
 * Tokens: `<|...|>` is one; letters, with the space before them, are one; every other byte is one.
 * The state after a token is a hash of the state before it and of the token; it stands for the KV
 * cache. The next token is chosen by the last state alone, so a state that belongs to another
 * prefix, model or adapter, or to another image, gives another answer. */
#ifndef SIMULATED_LANGUAGE_H
#define SIMULATED_LANGUAGE_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int32_t id;
    char text[40]; /* the bytes of a generated token; empty for the end of the turn */
    int bytes;
} Piece;

typedef struct {
    int32_t *ids;
    uint64_t *states; /* one behind each token */
    size_t count;
    size_t room;
} Context;

#define END_OF_TURN "<|im_end|>"

uint64_t hash_bytes(uint64_t seed, const void *data, size_t size);
uint64_t next_state(uint64_t before, int32_t id);

void context_push(Context *context, int32_t id, uint64_t seed);
/* The last token stands for a row of an image or a sound, on which its state then depends. */
void context_see(Context *context, const float *row, size_t width);
void context_free(Context *context);

/* Appends the tokens of a text to a growing list; the list's new count. */
size_t tokenize(const char *text, int32_t **ids, size_t count);

/* The pieces of what is said after a state: one word, one character in several pieces, or the end;
 * how many there are. At most 8. */
int choose_pieces(uint64_t state, long said, Piece pieces[8]);
/* The first pieces of a given text; how many bytes of it they are. */
int pieces_of_text(const char *text, Piece *piece);

#endif
