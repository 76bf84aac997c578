/* A program ready to run on this machine: checked, prepared by kernels of its processor, with an
 * arena. */

#ifndef WHERRY_HOST_READY_H
#define WHERRY_HOST_READY_H

#include "wherry/host.h"

typedef struct {
    wh_program program;
    void *prepared;  /* NULL where another one's is shared */
    uint8_t *arena;
} wh_ready;

/* `kernels` as wh_choose_kernels takes it. What was made is to be freed on an error as well. */
WH_MUST_CHECK int wh_ready_make(wh_ready *ready, const void *image, size_t image_size,
                                const char *kernels, wh_location *where);
/* The program of `from` once more: its prepared memory, which must outlive this and is only read,
 * and an arena of its own. To be freed on an error as well. */
WH_MUST_CHECK int wh_ready_share(wh_ready *ready, const wh_ready *from);

void wh_ready_free(wh_ready *ready);

WH_MUST_CHECK int wh_ready_reset(wh_ready *ready);

/* One inference; the inputs are in the arena, the outputs will be. */
WH_MUST_CHECK int wh_ready_run(wh_ready *ready);

/* What a runner runs. */
const wh_ready *wh_runner_ready(const wh_runner *runner);

#endif
