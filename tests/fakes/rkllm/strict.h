/* Looks at everything that the caller hands over, and ends the process loudly where it is wrong. */
#ifndef SIMULATED_STRICT_H
#define SIMULATED_STRICT_H

#include "header.h"

__attribute__((noreturn, format(printf, 1, 2))) void violation(const char *format, ...);

void check_param(const RKLLMParam *param);
void check_input(const RKLLMInput *input);
void check_infer(const RKLLMInferParam *infer);
void check_lora(const RKLLMLoraAdapter *adapter);
/* Readable, ended by NUL, valid UTF-8; `what` names it in the complaint. */
void check_string(const char *text, const char *what);
/* As many rows of `width` finite values as there are images (or sounds) of so many tokens. */
void check_rows(const float *values, size_t count, size_t tokens, size_t width, const char *what);
void check_tags(const char *start, const char *end, const char *content, const char *what);
void check_readable(const void *start, size_t size, const char *what);
void check_code(const void *function, const char *what);
#if LAYOUT >= V1_3_0
void check_callback(const RKLLMCallback *callback);
#endif

#endif
