#define _GNU_SOURCE

#include "ready.h"

#include <stdlib.h>
#include <string.h>

/* Kernels prefer lines of the cache, whatever the format asks for. */
static void *allocate(size_t size)
{
    size_t rounded = (size + WH_PREPARED_ALIGNMENT - 1) / WH_PREPARED_ALIGNMENT;
    return aligned_alloc(WH_PREPARED_ALIGNMENT, (rounded + !rounded) * WH_PREPARED_ALIGNMENT);
}

static int prepare(wh_ready *ready, const struct wh_kernels *kernels)
{
    size_t size = wh_prepare_size(&ready->program, kernels);
    ready->prepared = allocate(size);
    if (ready->prepared == NULL) {
        return WH_ERR_MEMORY;
    }
    return wh_prepare(&ready->program, kernels, ready->prepared, size);
}

static int make_arena(wh_ready *ready)
{
    ready->arena = allocate(ready->program.arena_size);
    if (ready->arena == NULL) {
        return WH_ERR_MEMORY;
    }
    memset(ready->arena, 0, ready->program.arena_size);
    return wh_ready_reset(ready);
}

int wh_ready_make(wh_ready *ready, const void *image, size_t image_size, const char *kernels,
                  wh_location *where)
{
    const struct wh_kernels *chosen = NULL;
    *ready = (wh_ready){.prepared = NULL};
    int status = wh_choose_kernels(kernels, &chosen);
    if (status == WH_OK) {
        status = wh_program_load(&ready->program, image, image_size, where);
    }
    if (status == WH_OK) {
        status = prepare(ready, chosen);
    }
    if (status != WH_OK) {
        return status;
    }
    return make_arena(ready);
}

int wh_ready_share(wh_ready *ready, const wh_ready *from)
{
    *ready = (wh_ready){.program = from->program};
    return make_arena(ready);
}

void wh_ready_free(wh_ready *ready)
{
    free(ready->arena);
    free(ready->prepared);
}

int wh_ready_reset(wh_ready *ready)
{
    return wh_reset(&ready->program, ready->arena, ready->program.arena_size);
}

int wh_ready_run(wh_ready *ready)
{
    return wh_run(&ready->program, ready->arena, ready->program.arena_size);
}
