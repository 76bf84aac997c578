/* Random layers of every operator that some table of kernels has its own kernel for: whatever table
 * this processor can run must leave the same bytes as the portable one.
 *
 * usage: random_layers FIRST_SEED COUNT
 *
 * A seed is one layer: shapes, strides, paddings, dilations, groups, zero points, shifts, dead
 * channels, biases that make accumulators wrap, operands that are broadcast. Image, arena and
 * prepared memory each end where a page ends that nobody may touch. Prints a line for each table
 * but the portable one and each operator: both names, how many layers there were, how many the
 * table took itself, how many outputs those had, and how many of them lay inside their bounds. */

#define _GNU_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/call.h"
#include "core/layout.h"
#include "wherry/host.h"

#define MEMORY (4u << 20)
#define TENSORS_MAX 6
#define LINKS_MAX 7
#define OPS (WH_SUB + 1)
#define PAGE 4096u

enum { X, Y, W, BIAS, M, S };

/* `w` is a second input of ADD and SUB; pools have none. */
typedef struct {
    uint16_t op;
    uint8_t rank_w, rank_x;
    uint32_t x[4], w[4], y[4];
    int32_t params[WH_PARAM_COUNT];
    uint32_t act_min_at;
    uint32_t channels; /* 0: no biases, multipliers and shifts per channel */
} layer;

typedef struct {
    uint32_t taps, in, out;
    int32_t stride, dilation, pad;
} axis;

typedef struct {
    unsigned long layers, taken, outputs, inside;
} tally;

static uint64_t random_state;

static uint32_t draw(uint32_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 20) % below;
}

static uint32_t between(uint32_t low, uint32_t high)
{
    return low + draw(high - low + 1);
}

static int is_one_in(uint32_t count)
{
    return draw(count) == 0;
}

/* --- a layer ------------------------------------------------------------------------------- */

static axis draw_axis(uint32_t taps, uint32_t in, uint32_t dilation, uint32_t stride)
{
    uint32_t pad = draw((taps - 1) * dilation + 1);
    uint32_t most = (in - 1 + pad) / stride + 1;
    return (axis){.taps = taps, .in = in, .out = is_one_in(4) ? between(1, most) : most,
                  .stride = (int32_t)stride, .dilation = (int32_t)dilation,
                  .pad = (int32_t)pad};
}

static uint32_t draw_stride(void)
{
    return is_one_in(2) ? 1 : between(1, 3);
}

/* `is_common`: three taps side by side, for which some tables have kernels of their own. */
static void draw_window(layer *l, uint32_t at, int is_common, uint32_t *taps, uint32_t *in,
                        uint32_t *out)
{
    uint32_t dilation = is_common || is_one_in(2) ? 1 : between(1, 3);
    *taps = is_common ? 3 : is_one_in(3) ? 1 : between(1, is_one_in(6) ? 7 : 4);
    *in = between(1, 12);
    axis a = draw_axis(*taps, *in, dilation, is_common ? 1 : draw_stride());
    *out = a.out;
    l->params[WH_CONV_STRIDE_H + at] = a.stride;
    l->params[WH_CONV_DILATION_H + at] = a.dilation;
    l->params[WH_CONV_PAD_TOP + at] = a.pad;
}

static void draw_bounds(layer *l, uint32_t at)
{
    l->act_min_at = at;
    uint32_t low = is_one_in(2) ? 0 : draw(200);
    l->params[at] = (int32_t)low - 128;
    l->params[at + 1] = (int32_t)(is_one_in(2) ? 255 : between(low, 255)) - 128;
}

static void draw_images(layer *l)
{
    l->rank_x = l->rank_w = 4;
    l->x[0] = l->y[0] = between(1, 2);
    int is_common = is_one_in(3);
    draw_window(l, 0, is_common, &l->w[1], &l->x[1], &l->y[1]);
    draw_window(l, 1, is_common, &l->w[2], &l->x[2], &l->y[2]);
    draw_bounds(l, WH_CONV_ACT_MIN);
    l->op = is_one_in(3) ? WH_DEPTHWISE_CONV_2D : WH_CONV_2D;
    if (l->op == WH_DEPTHWISE_CONV_2D) {
        l->x[3] = between(1, 70);
        l->w[0] = 1;
        l->w[3] = l->channels = l->x[3] * (is_one_in(3) ? between(1, 3) : 1);
    } else {
        uint32_t groups = is_one_in(5) ? between(2, 3) : 1;
        l->w[3] = is_one_in(3) ? 16 * between(1, 3) : between(1, 40);
        l->x[3] = l->w[3] * groups;
        l->w[0] = l->channels = between(1, is_common ? 40 : 20) * groups;
    }
    l->y[3] = l->channels;
}

static void draw_rows(layer *l)
{
    l->op = WH_FULLY_CONNECTED;
    l->rank_x = l->rank_w = 2;
    l->x[0] = l->y[0] = is_one_in(2) ? 1 : between(1, 14);
    l->x[1] = l->w[1] = is_one_in(3) ? 16 * between(1, 20) : between(1, 200);
    l->w[0] = l->y[1] = l->channels = between(1, 60);
    draw_bounds(l, WH_FC_ACT_MIN);
}

/* Now and then with more taps than a sum of 16 bits holds. */
static void draw_pool(layer *l)
{
    int is_large = is_one_in(8);
    l->op = is_one_in(2) ? WH_AVERAGE_POOL_2D : WH_MAX_POOL_2D;
    l->rank_x = 4;
    l->x[0] = l->y[0] = between(1, 2);
    l->x[3] = l->y[3] = between(1, is_large ? 20 : 70);
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t taps = is_large ? between(15, 22) : between(1, is_one_in(6) ? 9 : 4);
        uint32_t in = is_large ? between(17, 24) : between(1, 12);
        axis a = draw_axis(taps, in, 1, draw_stride());
        l->x[1 + i] = a.in;
        l->y[1 + i] = a.out;
        l->params[WH_POOL_FILTER_H + i] = (int32_t)a.taps;
        l->params[WH_POOL_STRIDE_H + i] = a.stride;
        l->params[WH_POOL_PAD_TOP + i] = a.pad;
    }
    draw_bounds(l, WH_POOL_ACT_MIN);
}

static int32_t draw_multiplier(int is_wild)
{
    if (is_one_in(6)) {
        return 1 << 30; /* a half */
    }
    return is_wild ? (int32_t)(draw(1u << 15) << 16 | draw(1u << 16))
                   : (int32_t)((1u << 30) + draw(1u << 30));
}

static void draw_sum(layer *l)
{
    int is_wild = is_one_in(4);
    l->op = is_one_in(2) ? WH_ADD : WH_SUB;
    l->rank_x = l->rank_w = (uint8_t)between(1, 4);
    for (uint32_t i = 0; i < l->rank_x; i++) {
        l->x[i] = l->w[i] = l->y[i] = between(1, i + 1 == l->rank_x ? 40 : 6);
    }
    if (is_one_in(6)) {
        l->w[draw(l->rank_w)] = 1;
    }
    int32_t *p = l->params;
    p[WH_SUM_LEFT_SHIFT] = (int32_t)(is_wild ? draw(23) : 20);
    p[WH_SUM_MULTIPLIER_A] = draw_multiplier(is_wild);
    p[WH_SUM_MULTIPLIER_B] = draw_multiplier(is_wild);
    p[WH_SUM_MULTIPLIER] = draw_multiplier(is_wild);
    p[WH_SUM_SHIFT_A] = is_one_in(3) ? 0 : -(int32_t)draw(is_wild ? 32 : 4);
    p[WH_SUM_SHIFT_B] = is_one_in(3) ? 0 : -(int32_t)draw(is_wild ? 32 : 4);
    p[WH_SUM_SHIFT] = is_wild ? (int32_t)draw(62) - 31 : -(int32_t)between(18, 21);
    draw_bounds(l, WH_SUM_ACT_MIN);
}

static layer draw_layer(void)
{
    layer l = {0};
    if (is_one_in(4)) {
        draw_rows(&l);
    } else if (is_one_in(4)) {
        draw_pool(&l);
    } else if (is_one_in(4)) {
        draw_sum(&l);
    } else {
        draw_images(&l);
    }
    return l;
}

/* --- its program --------------------------------------------------------------------------- */

static uint32_t padded(uint32_t size)
{
    return (size + WH_ALIGNMENT - 1) / WH_ALIGNMENT * WH_ALIGNMENT;
}

static wh_tensor tensor(uint8_t kind, uint8_t dtype, uint8_t rank, const uint32_t *dims)
{
    wh_tensor t = {.dtype = dtype, .rank = rank, .kind = kind};
    t.size = dtype == WH_INT8 ? 1 : 4;
    for (uint32_t i = 0; i < rank; i++) {
        t.dims[i] = dims[i];
        t.size *= dims[i];
    }
    return t;
}

static int32_t draw_zero_point(void)
{
    return is_one_in(5) ? (is_one_in(2) ? -128 : 127) : (int32_t)draw(256) - 128;
}

static void fill_int8(int8_t *to, uint32_t count)
{
    uint32_t way = draw(10);
    for (uint32_t i = 0; i < count; i++) {
        int is_lowest = way == 0 ? is_one_in(2) : way == 1;
        to[i] = (int8_t)(way > 2 ? (int32_t)draw(256) - 128 : is_lowest ? -128 : 127);
    }
}

static void fill_channels(const layer *l, int32_t *bias, int32_t *m, int32_t *s)
{
    int is_wild = is_one_in(4);
    for (uint32_t i = 0; i < l->channels; i++) {
        bias[i] = is_wild ? (int32_t)(draw(1u << 16) << 16 | draw(1u << 16))
                          : (int32_t)draw(40001) - 20000;
        m[i] = is_wild ? (int32_t)(draw(1u << 15) << 16 | draw(1u << 16))
                       : (int32_t)((1u << 30) + draw(1u << 30));
        s[i] = is_wild ? (int32_t)draw(62) - 31 : -(int32_t)between(5, 12);
        if (is_one_in(12)) {
            m[i] = s[i] = 0;
        }
    }
}

/* What a program says of its tensors: inputs, the output, then the node's operands. */
typedef struct {
    uint16_t links[LINKS_MAX];
    uint16_t link_count, input_count, tensor_count;
    uint8_t operand_count;
} graph;

static graph graph_of(const layer *l)
{
    if (l->channels != 0) {
        return (graph){{X, Y, X, W, BIAS, M, S}, 7, 1, 6, 5};
    }
    if (l->rank_w != 0) {
        return (graph){{X, W, Y, X, W}, 5, 2, 3, 2};
    }
    return (graph){{X, Y, X}, 3, 1, 2, 1};
}

/* Places X, Y and a second input in the arena; its size. */
static uint32_t place_activations(const layer *l, wh_tensor *t)
{
    int is_pool = l->op == WH_AVERAGE_POOL_2D || l->op == WH_MAX_POOL_2D;
    t[X] = tensor(WH_ARENA, WH_INT8, l->rank_x, l->x);
    t[Y] = tensor(WH_ARENA, WH_INT8, l->rank_x, l->y);
    t[X].zero_point = draw_zero_point();
    t[Y].zero_point = is_pool ? t[X].zero_point : draw_zero_point();
    t[Y].offset = padded(t[X].size);
    uint32_t end = t[Y].offset + padded(t[Y].size);
    if (l->channels == 0 && l->rank_w != 0) {
        t[W] = tensor(WH_ARENA, WH_INT8, l->rank_w, l->w);
        t[W].zero_point = draw_zero_point();
        t[W].offset = end;
        end += padded(t[W].size);
    }
    return end;
}

/* Places what has a layer with weights in the image, from `end` on; its new end. */
static uint32_t place_constants(const layer *l, wh_tensor *t, uint32_t end)
{
    t[W] = tensor(WH_CONSTANT, WH_INT8, l->rank_w, l->w);
    for (uint32_t i = BIAS; i <= S; i++) {
        t[i] = tensor(WH_CONSTANT, WH_INT32, 1, &l->channels);
    }
    for (uint32_t i = W; i <= S; end += padded(t[i].size), i++) {
        t[i].offset = end;
    }
    return end;
}

/* The image of a program of this layer, with random constants; its size. */
static uint32_t write_program(const layer *l, uint8_t *image)
{
    wh_tensor t[TENSORS_MAX] = {{0}};
    graph g = graph_of(l);
    size_t tensors_size = g.tensor_count * sizeof t[0];
    uint16_t piece_count = l->channels != 0 ? 2 : 1;
    size_t links_size = g.link_count * sizeof g.links[0];
    wh_node node = {.op = l->op, .rounding = WH_ROUNDING_D, .operand_count = g.operand_count,
                    .operand_first = g.input_count + 1u, .output = Y};
    uint32_t structure = padded((uint32_t)(sizeof(wh_program_header) + tensors_size + sizeof node +
                                           piece_count * sizeof(wh_piece) + links_size + 1));
    uint32_t arena_size = place_activations(l, t);
    uint32_t end = l->channels != 0 ? place_constants(l, t, structure) : structure;
    memcpy(node.params, l->params, sizeof node.params);
    wh_program_header header = {
        .magic = {'W', 'H', 'R', 'Y', 'P', 'R', 'O', 'G'}, .format_version = WH_PROGRAM_FORMAT,
        .engine_abi = WH_ENGINE_ABI_MIN, .image_size = end, .structure_size = structure,
        .arena_size = arena_size, .tensor_count = g.tensor_count, .node_count = 1,
        .piece_count = piece_count, .input_count = g.input_count, .output_count = 1,
        .link_count = g.link_count, .names_size = 1,
    };
    wh_piece pieces[2] = {{.size = structure}, {.offset = structure, .size = end - structure}};
    memset(image, 0, end);
    const struct { const void *bytes; size_t size; } parts[] = {
        {&header, sizeof header}, {t, tensors_size}, {&node, sizeof node},
        {pieces, piece_count * sizeof pieces[0]}, {g.links, links_size},
    };
    uint8_t *to = image;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; to += parts[i++].size) {
        memcpy(to, parts[i].bytes, parts[i].size);
    }
    if (l->channels != 0) {
        fill_int8((int8_t *)image + t[W].offset, t[W].size);
        fill_channels(l, (void *)(image + t[BIAS].offset), (void *)(image + t[M].offset),
                      (void *)(image + t[S].offset));
    }
    return end;
}

/* --- comparing ----------------------------------------------------------------------------- */

/* `size` bytes that end where memory ends. */
static uint8_t *at_the_end(uint8_t *memory, size_t size)
{
    return memory + MEMORY - size;
}

static uint8_t *map_memory(void)
{
    uint8_t *memory = mmap(NULL, MEMORY + PAGE, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + MEMORY, PAGE, PROT_NONE) != 0) {
        perror("memory");
        exit(2);
    }
    return memory;
}

static void hold(int is_true, const char *what)
{
    if (!is_true) {
        printf("%s\n", what);
        exit(1);
    }
}

static wh_program loaded(const uint8_t *image, uint32_t size)
{
    wh_program program;
    wh_location where = {0, 0};
    int status = wh_program_load(&program, image, size, &where);
    if (status != WH_OK) {
        printf("%s in part %d\n", wh_error_name(status), where.part);
        exit(1);
    }
    return program;
}

static void count(const layer *l, const wh_program *p, const uint8_t *arena, tally *to)
{
    const wh_tensor *y = wh_output(p, 0);
    uint32_t at = l->act_min_at;
    to->layers += 1;
    if (p->steps[0].run == wh_portable_kernels()->of[l->op].run) {
        return;
    }
    to->taken += 1;
    to->outputs += y->size;
    for (uint32_t i = 0; i < y->size; i++) {
        int8_t value = (int8_t)arena[y->offset + i];
        to->inside += value > l->params[at] && value < l->params[at + 1];
    }
}

/* One layer by the portable kernels and by each table. */
static void compare(unsigned long seed, uint8_t *const memory[3], tally tallies[][OPS])
{
    static uint8_t drawn[MEMORY], inputs[MEMORY], expected[MEMORY];
    random_state = seed * 0x9E3779B97F4A7C15u + 1;
    for (int i = 0; i < 8; i++) {
        (void)draw(2);
    }
    layer l = draw_layer();
    uint32_t size = write_program(&l, drawn);
    uint8_t *image = memcpy(at_the_end(memory[0], size), drawn, size);
    wh_program portable = loaded(image, size);
    size_t arena_size = portable.header->arena_size;
    fill_int8((int8_t *)inputs, (uint32_t)arena_size);
    uint8_t *arena = memcpy(at_the_end(memory[1], arena_size), inputs, arena_size);
    hold(wh_run(&portable, arena, arena_size) == WH_OK, "the portable kernels did not run");
    memcpy(expected, arena, arena_size);
    const struct wh_kernels *kernels;
    for (uint32_t i = 0; (kernels = wh_kernels_at(i)) != wh_portable_kernels(); i++) {
        wh_program other = loaded(image, size);
        size_t prepared = wh_prepare_size(&other, kernels);
        hold(wh_prepare(&other, kernels, at_the_end(memory[2], prepared), prepared) == WH_OK,
             "not prepared");
        arena = at_the_end(memory[1], other.arena_size);
        memset(arena, 0x5A, other.arena_size);
        memcpy(arena, inputs, arena_size);
        hold(wh_run(&other, arena, other.arena_size) == WH_OK, "not run");
        if (memcmp(arena, expected, arena_size) != 0) {
            printf("seed %lu: %s differs from portable on %s\n", seed, wh_kernels_name(kernels),
                   wh_op_name(l.op));
            exit(1);
        }
        count(&l, &other, arena, &tallies[i][l.op]);
    }
}

int main(int argc, char **argv)
{
    static tally tallies[8][OPS];
    uint8_t *const memory[3] = {map_memory(), map_memory(), map_memory()};
    if (argc != 3) {
        return 2;
    }
    unsigned long first = strtoul(argv[1], NULL, 10);
    unsigned long end = first + strtoul(argv[2], NULL, 10);
    for (unsigned long seed = first; seed < end; seed++) {
        compare(seed, memory, tallies);
    }
    const struct wh_kernels *kernels;
    for (uint32_t i = 0; (kernels = wh_kernels_at(i)) != wh_portable_kernels(); i++) {
        for (uint32_t op = 0; op < OPS; op++) {
            const tally *t = &tallies[i][op];
            if (t->layers != 0) {
                printf("%s %s %lu %lu %lu %lu\n", wh_kernels_name(kernels), wh_op_name(op),
                       t->layers, t->taken, t->outputs, t->inside);
            }
        }
    }
    return 0;
}
