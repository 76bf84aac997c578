/* CONV_2D and FULLY_CONNECTED of several rows (conv_plan.h), by vpmaddwd: the input is widened
 * to 16 bits and centred, so that padding is 0. A tile is up to 6 outputs times 16 channels. */

#if defined(__x86_64__)

#include "conv_plan.h"
#include "finish_tile.h"
#include "kernels_avx2.h"
#include "wide_row.h"

#include <string.h>

#define TILE 6

typedef wh_conv_plan plan;

#define STEP 2  /* elements of a run that vpmaddwd takes at once */

int wh_conv_2d_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs)
{
    return wh_conv_needs(program, node, STEP, sizeof(int16_t), needs);
}

static void pack_block(const plan *p, const int8_t *w, int32_t first, int32_t count, int16_t *to)
{
    for (int32_t run = 0; run < p->run_count; run++) {
        for (int32_t pair = 0; pair < p->run_steps; pair++) {
            for (int32_t i = 0; i < WH_BLOCK; i++) {
                *to++ = i < count ? wh_conv_weight(p, w, first + i, run, 2 * pair) : 0;
                *to++ = i < count ? wh_conv_weight(p, w, first + i, run, 2 * pair + 1) : 0;
            }
        }
    }
}

static void pack_weights(const plan *p, const int8_t *w, int16_t *to)
{
    intptr_t block_size = (intptr_t)p->run_count * p->run_steps * WH_BLOCK * STEP;
    for (int32_t group = 0; group < p->out_c; group += p->per_group) {
        for (int32_t first = 0; first < p->per_group; first += WH_BLOCK, to += block_size) {
            int32_t rest = p->per_group - first;
            pack_block(p, w, group + first, rest < WH_BLOCK ? rest : WH_BLOCK, to);
        }
    }
}

void wh_conv_2d_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared)
{
    uint8_t *memory = prepared;
    plan p = wh_conv_prepare(program, node, STEP, sizeof(int16_t), memory);
    const wh_tensor *w = wh_operand_of(program, node, WH_WEIGHTS);
    pack_weights(&p, (const int8_t *)program->image + w->offset, (void *)(memory + p.weights_at));
    memcpy(prepared, &p, sizeof p);
}

/* --- running ------------------------------------------------------------------------------- */

typedef struct {
    const plan *plan;
    const int32_t *runs;
    const int16_t *weights;
    const wh_block *block;
    int32_t channels;  /* of the block */
} column_of_tiles;

WH_INLINE void tile(const column_of_tiles *c, const int16_t *const *x, int8_t *y, int pixels,
                    int vectors, int has_negative)
{
    __m256i acc[TILE][2];
#pragma GCC unroll 8
    for (int i = 0; i < pixels; i++) {
        acc[i][0] = wh_load_256(c->block->bias);
        acc[i][1] = wh_load_256(c->block->bias + 8);
    }
    const int16_t *w = c->weights;
    intptr_t length = STEP * (intptr_t)c->plan->run_steps;
    for (int32_t run = 0; run < c->plan->run_count; run++) {
        intptr_t end = c->runs[run] + length;
#pragma GCC unroll 2
        for (intptr_t at = c->runs[run]; at < end; at += STEP, w += WH_BLOCK * STEP) {
            __m256i w0 = wh_load_256(w);
            __m256i w1 = vectors > 1 ? wh_load_256(w + WH_BLOCK) : w0;
#pragma GCC unroll 8
            for (int i = 0; i < pixels; i++) {
                __m256i pair = wh_pair(x[i] + at);
                acc[i][0] = _mm256_add_epi32(acc[i][0], _mm256_madd_epi16(pair, w0));
                if (vectors > 1) {
                    acc[i][1] = _mm256_add_epi32(acc[i][1], _mm256_madd_epi16(pair, w1));
                }
            }
        }
    }
    if (vectors == 1) {
#pragma GCC unroll 8
        for (int i = 0; i < pixels; i++) {
            acc[i][1] = acc[i][0];
        }
    }
    wh_finish_tile(&c->plan->finishing, c->block, (const __m256i(*)[2])acc, pixels, y,
                   c->plan->out_c, 2 * (intptr_t)c->plan->out_c, c->channels, has_negative);
}

/* So many tiles one after another. */
WH_INLINE int8_t *run_tiles(const column_of_tiles *c, const int16_t *x, wh_conv_cursor *at,
                            int8_t *y, int32_t tiles, int pixels, int vectors,
                            int has_negative)
{
    for (; tiles > 0; tiles--, y += (intptr_t)pixels * c->plan->out_c) {
        const int16_t *pointers[TILE];
#pragma GCC unroll 8
        for (int i = 0; i < pixels; i++) {
            pointers[i] = x + at->element;
            wh_conv_advance(c->plan, at);
        }
        tile(c, pointers, y, pixels, vectors, has_negative);
    }
    return y;
}

WH_INLINE int8_t *run_tile(const column_of_tiles *c, const int16_t *x, wh_conv_cursor *at,
                           int8_t *y, int32_t pixels, int vectors, int has_negative)
{
    switch (pixels) {
        case 5: return run_tiles(c, x, at, y, 1, 5, vectors, has_negative);
        case 4: return run_tiles(c, x, at, y, 1, 4, vectors, has_negative);
        case 3: return run_tiles(c, x, at, y, 1, 3, vectors, has_negative);
        case 2: return run_tiles(c, x, at, y, 1, 2, vectors, has_negative);
        default: return run_tiles(c, x, at, y, 1, 1, vectors, has_negative);
    }
}

/* All outputs of one block of channels; of the last ones two tiles of about the same size, since
 * small tiles are slow ones. */
WH_INLINE void run_column(const column_of_tiles *c, const int16_t *x, int8_t *y, int vectors,
                          int has_negative)
{
    wh_conv_cursor at = {0, 0};
    int32_t outputs = c->plan->image.out_h * c->plan->image.out_w;
    int32_t tiles = outputs / TILE;
    int32_t rest = outputs % TILE;
    if (tiles > 0 && rest > 0 && rest < TILE / 2) {
        tiles--;
        rest += TILE;
    }
    y = run_tiles(c, x, &at, y, tiles, TILE, vectors, has_negative);
    while (rest > 0) {
        int32_t pixels = rest > TILE ? (rest + 1) / 2 : rest;
        y = run_tile(c, x, &at, y, pixels, vectors, has_negative);
        rest -= pixels;
    }
}

static void run_column_1(const column_of_tiles *c, const int16_t *x, int8_t *y)
{
    run_column(c, x, y, 1, 1);
}

static void run_column_2(const column_of_tiles *c, const int16_t *x, int8_t *y)
{
    run_column(c, x, y, 2, 1);
}

static void run_column_2_positive(const column_of_tiles *c, const int16_t *x, int8_t *y)
{
    run_column(c, x, y, 2, 0);
}

typedef void (*column_function)(const column_of_tiles *, const int16_t *, int8_t *);

static void run_image(const plan *p, const uint8_t *prepared, const int16_t *x, int8_t *y)
{
    intptr_t block_size = (intptr_t)p->run_count * p->run_steps * WH_BLOCK * STEP;
    column_of_tiles c = {
        .plan = p,
        .runs = (const void *)(prepared + p->runs_at),
        .weights = (const void *)(prepared + p->weights_at),
        .block = (const void *)(prepared + p->blocks_at),
    };
    column_function run_2 =
        wh_has_negative(&p->finishing) ? run_column_2 : run_column_2_positive;
    for (int32_t group = 0; group < p->out_c; group += p->per_group, x += p->group_c) {
        for (int32_t first = 0; first < p->per_group; first += WH_BLOCK) {
            int32_t rest = p->per_group - first;
            c.channels = rest < WH_BLOCK ? rest : WH_BLOCK;
            (c.channels > 8 ? run_2 : run_column_1)(&c, x, y + group + first);
            c.weights += block_size;
            c.block++;
        }
    }
}

void wh_conv_2d_avx2(const wh_call *call)
{
    const plan *p = call->prepared;
    const int8_t *x = wh_operand_int8(call, WH_X);
    int8_t *y = wh_result_int8(call);
    int16_t *wide = (void *)call->scratch;
    for (int32_t b = 0; b < p->batches; b++) {
        for (int32_t row = 0; row < p->image.rows; row++) {
            wh_widen_row(&p->image, x, row, p->zero_x, wide + row * p->row_stride);
        }
        run_image(p, call->prepared, wide, y);
        x += (intptr_t)p->image.in_h * p->image.in_w * p->image.in_c;
        y += (intptr_t)p->image.out_h * p->image.out_w * p->out_c;
    }
}

#include "avx2_end.h"

#endif
