/* libFuzzer on the loader, and on running whatever it lets through, with the portable kernels and
 * with every other table that this processor has; sanitizers judge.
 *
 * Image, arena and prepared memory have exactly their sizes, so that one byte beyond is seen. The
 * image is compared after a run: nobody may write to it. All tables must leave the same arena.
 * Mutations that know the format keep tables consistent enough to get past the first checks;
 * libFuzzer's own do the rest. At the end a line says how many images were refused, run, or left
 * out because they would take too long. */

#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/layout.h"
#include "wherry/host.h"

/* Beyond these a program is loaded and not run: what is tested is the engine, not patience. */
#define ARENA_MAX (1u << 18)
#define STEPS_MAX 2000000u

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static unsigned long refused, ran, too_long;

/* Aligned memory of exactly `size` bytes. */
static uint8_t *exactly(size_t size)
{
    void *memory = NULL;
    if (posix_memalign(&memory, WH_PREPARED_ALIGNMENT, size) != 0) {
        abort();
    }
    return memory;
}

/* At least the steps of the node's innermost loop, by its largest tensors. */
static uint64_t steps_of(const wh_program *p, const wh_node *node)
{
    const wh_tensor *y = &p->tensors[node->output];
    uint64_t steps = y->size;
    uint64_t taps = 1;
    for (uint32_t i = 0; i < node->operand_count; i++) {
        const wh_tensor *t = &p->tensors[p->links[node->operand_first + i]];
        steps += t->size;
        if (i == WH_WEIGHTS && node->operand_count == 5 && t->rank > 0) {
            uint32_t rows = node->op == WH_DEPTHWISE_CONV_2D ? t->dims[t->rank - 1] : t->dims[0];
            taps = t->size / rows;
        }
    }
    if (node->op == WH_AVERAGE_POOL_2D || node->op == WH_MAX_POOL_2D) {
        taps = (uint64_t)node->params[WH_POOL_FILTER_H] * (uint64_t)node->params[WH_POOL_FILTER_W];
    }
    return steps + y->size * taps;
}

static int is_short(const wh_program *p)
{
    uint64_t steps = 0;
    for (uint32_t i = 0; i < p->header->node_count; i++) {
        steps += steps_of(p, &p->nodes[i]);
    }
    return p->header->arena_size <= ARENA_MAX && steps <= STEPS_MAX;
}

static void hold(int is_true, const char *what, const char *kernels)
{
    if (!is_true) {
        fprintf(stderr, "%s: %s\n", kernels, what);
        abort();
    }
}

/* The arena after a run on 0x5A everywhere; the caller's to free. */
static uint8_t *arena_after(const wh_program *p, const char *kernels)
{
    uint8_t *arena = exactly(p->arena_size);
    memset(arena, 0x5A, p->arena_size);
    hold(wh_reset(p, arena, p->arena_size) == WH_OK, "no reset", kernels);
    hold(wh_run(p, arena, p->arena_size) == WH_OK, "did not run", kernels);
    return arena;
}

static void run_with(const wh_program *loaded, const struct wh_kernels *kernels,
                     const uint8_t *expected)
{
    const char *name = wh_kernels_name(kernels);
    wh_program program = *loaded;
    size_t size = wh_prepare_size(&program, kernels);
    uint8_t *prepared = exactly(size);
    hold(wh_prepare(&program, kernels, prepared, size) == WH_OK, "not prepared", name);
    uint8_t *arena = arena_after(&program, name);
    hold(memcmp(arena, expected, loaded->header->arena_size) == 0, "differs", name);
    free(arena);
    free(prepared);
}

static void run(const wh_program *loaded)
{
    const struct wh_kernels *kernels;
    uint8_t *expected = arena_after(loaded, "as loaded");
    for (uint32_t i = 0; (kernels = wh_kernels_at(i)) != NULL; i++) {
        run_with(loaded, kernels, expected);
    }
    free(expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *image = exactly(size);
    wh_program program;
    wh_location where;
    memcpy(image, data, size);
    if (wh_program_load(&program, image, size, &where) != WH_OK) {
        refused++;
    } else if (!is_short(&program)) {
        too_long++;
    } else {
        ran++;
        run(&program);
    }
    if (memcmp(image, data, size) != 0) {
        fprintf(stderr, "the image was written to\n");
        abort();
    }
    free(image);
    return 0;
}

static void summarize(void)
{
    fprintf(stderr, "images: %lu refused, %lu ran, %lu too long\n", refused, ran, too_long);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return atexit(summarize);
}

/* --- mutations that know the format ----------------------------------------------------------- */

static uint32_t draw(uint32_t *state, uint32_t below)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % below;
}

static uint32_t interesting(uint32_t *state)
{
    static const uint32_t values[] = {
        0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 64, 127, 128, 255, 256, 4095, 65535, 65536, 65537,
        1u << 22, 1u << 28, 0x7FFFFFF0u, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFF80u, 0xFFFFFFE1u,
        0xFFFFFFFFu,
    };
    return values[draw(state, sizeof values / sizeof values[0])];
}

static uint32_t element_size(const wh_tensor *t)
{
    return t->dtype == WH_INT8 ? 1 : t->dtype == WH_INT16 ? 2 : t->dtype == WH_INT32 ? 4 : 8;
}

/* Another shape or place; the size follows the shape, as the loader will ask. */
static void mutate_tensor(wh_tensor *t, uint32_t *state)
{
    uint32_t axis = draw(state, WH_RANK_MAX);
    switch (draw(state, 5)) {
    case 0:
        t->dims[axis] = draw(state, 2) != 0 ? interesting(state) : draw(state, 20);
        break;
    case 1:
        t->offset += 16 * draw(state, 9) - 64;
        break;
    case 2:
        t->zero_point = (int32_t)(draw(state, 2) != 0 ? interesting(state)
                                                      : draw(state, 256) - 128);
        break;
    case 3:
        t->dtype = (uint8_t)(1 + draw(state, 4));
        break;
    default:
        t->dims[axis] += draw(state, 3) - 1;
    }
    uint32_t size = element_size(t);
    t->rank = 0;
    while (t->rank < WH_RANK_MAX && t->dims[t->rank] != 0) {
        size *= t->dims[t->rank++];
    }
    t->size = size;
}

/* Memory of its own behind all others, so that another shape shares with nobody. */
static void move_to_the_end(wh_tensor *t, wh_program_header *h)
{
    if (t->kind != WH_CONSTANT && t->size < ARENA_MAX && h->arena_size < ARENA_MAX) {
        t->offset = h->arena_size;
        h->arena_size += (t->size + WH_ALIGNMENT - 1) / WH_ALIGNMENT * WH_ALIGNMENT;
    }
}

static void mutate_constants(uint8_t *image, size_t size, uint32_t *state)
{
    uint32_t first = ((const wh_program_header *)(const void *)image)->structure_size;
    if (first >= size || size - first < 4) {
        return;
    }
    uint32_t at = first + 4 * draw(state, (uint32_t)(size - first) / 4);
    uint32_t value = draw(state, 2) != 0 ? interesting(state) : draw(state, 1u << 24);
    memcpy(image + at, &value, sizeof value);
}

static void mutate_node(wh_node *n, const wh_program_header *h, uint32_t *state)
{
    uint32_t param = draw(state, WH_PARAM_COUNT);
    switch (draw(state, 5)) {
    case 0:
        n->params[param] = (int32_t)interesting(state);
        break;
    case 1:
        n->params[param] = (int32_t)((uint32_t)n->params[param] + draw(state, 5) - 2);
        break;
    case 2:
        n->op = (uint16_t)draw(state, WH_OP_COUNT);
        memset(n->params + 8, 0, sizeof n->params - 8 * sizeof n->params[0]);
        break;
    case 3:
        n->output = (uint16_t)draw(state, h->tensor_count);
        break;
    default:
        n->rounding = (uint8_t)(1 + draw(state, 3));
    }
}

/* The tables of an image that is long enough for them; 0 where they are not there. */
static int mutate_tables(uint8_t *image, size_t size, uint32_t *state)
{
    wh_program_header *h = (void *)image;
    size_t tables = sizeof *h;
    if (size < tables || h->tensor_count == 0 || h->node_count == 0) {
        return 0;
    }
    wh_tensor *tensors = (void *)(h + 1);
    wh_node *nodes = (void *)(tensors + h->tensor_count);
    uint16_t *links = (void *)((uint8_t *)(nodes + h->node_count) +
                               h->piece_count * sizeof(wh_piece));
    tables += h->tensor_count * sizeof *tensors + h->node_count * sizeof *nodes +
              h->piece_count * sizeof(wh_piece) + (uint64_t)h->link_count * sizeof *links;
    if (tables > size || h->link_count == 0) {
        return 0;
    }
    wh_tensor *tensor = &tensors[draw(state, h->tensor_count)];
    switch (draw(state, 10)) {
    case 0:
        links[draw(state, h->link_count)] = (uint16_t)draw(state, h->tensor_count);
        break;
    case 1:
        h->arena_size = h->arena_size + 16 * (draw(state, 65) - 32);
        break;
    case 2:
    case 3:
    case 4:
        mutate_node(&nodes[draw(state, h->node_count)], h, state);
        break;
    case 5:
        mutate_constants(image, size, state);
        break;
    default:
        mutate_tensor(tensor, state);
        if (draw(state, 2) != 0) {
            move_to_the_end(tensor, h);
        }
    }
    return 1;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    uint32_t state = seed;
    if (draw(&state, 4) == 0) {
        return LLVMFuzzerMutate(data, size, size_max);
    }
    uint8_t *image = exactly(size);
    memcpy(image, data, size);
    int is_mutated = 1;
    for (uint32_t i = draw(&state, 3) + 1; i > 0; i--) {
        is_mutated = is_mutated && mutate_tables(image, size, &state);
    }
    memcpy(data, image, size);
    free(image);
    return is_mutated ? size : LLVMFuzzerMutate(data, size, size_max);
}
