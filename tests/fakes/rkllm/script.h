/* What shall go wrong: `key=value` lines from RKLLM_SIM_SCRIPT, a text or the path of a file.
 *
 * A file is read again at every call into the library, so a test can change it meanwhile. Lines may
 * also be parted by `;`. Faults (`KEY=WHAT`, and `KEY=WHAT once` removes the script's file first,
 * so that a replaced worker goes on unharmed):
 *
 *     init, load, save, prefill, token.N   crash | abort | exit | hang | error, or
 *                                          overrun: a write behind a block, for a sanitizer to find
 *     init                                 also oom (-1 and a log line) and silent (0 and no handle)
 *     save                                 also torn, empty, none: what becomes of the file; and
 *                                          half: killed (SIGKILL) when half of it is written
 *     match=TEXT                           faults and `answer` only in runs whose prompt has TEXT
 *     noise=N                              N odd lines on stdout and on stderr at every event
 *     null_text=N                          token N comes with text NULL
 *     late_finish_ms=N                     FINISH comes from a thread after rkllm_run returned
 *     ignore_abort_ms=N                    an abort takes effect only after this time
 *     waiting_bytes=1                      WAITING events carry their part of the character
 *     draw=1                               tokens are drawn where top_k is not 1, as on a board
 *     answer=TEXT                          the answer of every run
 *     prefill_us, token_us, load_us        what a prefilled, a decoded token and loading cost
 *
 * The same keys may stand in the model file, where the script does not have them, and these only
 * there: max_context_limit, npu_core_num, hidden, and kind=linear (refuses to keep or save its state)
 * or kind=forgetful (saves and loads it, and computes everything all the same). */
#ifndef SIMULATED_SCRIPT_H
#define SIMULATED_SCRIPT_H

#include <stdbool.h>

typedef struct {
    char *script; /* NULL where there is none */
    char *path;   /* of the script's file, NULL where it is no file */
    const char *model;
} Script;

void script_open(Script *script, const char *model);
void script_close(Script *script);

/* A key's value in a static buffer, NULL where there is none. */
const char *script_text(const Script *script, const char *key);
long script_number(const Script *script, const char *key, long otherwise);

/* Lets a fault happen; true where the caller has to fail, false where all is well. */
bool script_fault(const Script *script, const char *key);
/* Whether a fault that the caller has to play itself is asked for. */
bool script_asks(const Script *script, const char *key, const char *what);

char *read_text(const char *path);

#endif
