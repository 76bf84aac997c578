/* What a target gives the vectors: a place to write text, and kernels with memory to prepare in. */

#ifndef WHERRY_TESTS_TARGET_H
#define WHERRY_TESTS_TARGET_H

#include <stddef.h>

struct wh_kernels;

/* Without memory the portable kernels run, as loaded; without kernels nothing does. */
typedef struct {
    const struct wh_kernels *kernels;
    void *memory;
    size_t size;
} wh_preparation;

wh_preparation wh_target_preparation(void);

/* Runs every program and writes what came of it. */
void wh_run_vectors(void);

void wh_write(const char *text);

#endif
