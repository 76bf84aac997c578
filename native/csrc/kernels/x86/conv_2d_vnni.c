/* CONV_2D and FULLY_CONNECTED (conv_plan.h) by vpdpbusd, which takes four bytes at once,
 * exactly: the input unsigned, offset by 128, so that padding is zero_x + 128. The offset is
 * taken back in the bias: sum (x - zero) w = sum (x + 128) w - (128 + zero) sum w. A tile is up
 * to 6 outputs times 64 channels, or 12 times 32 or 16: enough sums that none waits for itself. */

#if defined(__x86_64__)

#include "kernels_vnni.h" /* first: clang wants its declarations outside of every target */

#include "conv_plan.h"

#include <string.h>

#include "avx512.h"

#define TILE 12  /* outputs */
#define PART 6   /* of them: all that a tile of BLOCKS has, and what is finished at once */
#define STEP 4
#define BLOCKS 4 /* that a tile takes at once */

typedef wh_conv_plan plan;

int wh_conv_2d_needs_vnni(const wh_program *program, const wh_node *node, wh_needs *needs)
{
    return wh_conv_needs(program, node, STEP, sizeof(int8_t), needs);
}

static intptr_t block_size(const plan *p)
{
    return (intptr_t)p->run_count * p->run_steps * WH_BLOCK * STEP;
}

/* The weights of one block, and of each of its biases what the offset adds. */
static void pack_block(const plan *p, const int8_t *w, int32_t first, int32_t count, wh_block *b,
                       int8_t *to)
{
    for (int32_t run = 0; run < p->run_count; run++) {
        for (int32_t step = 0; step < p->run_steps; step++) {
            for (int32_t i = 0; i < WH_BLOCK * STEP; i++) {
                int32_t o = i / STEP;
                int8_t one = 0;
                if (o < count) {
                    one = wh_conv_weight(p, w, first + o, run, step * STEP + i % STEP);
                    uint32_t excess = (uint32_t)(128 + p->zero_x) * (uint32_t)one;
                    b->bias[o] = (int32_t)((uint32_t)b->bias[o] - excess);
                }
                *to++ = one;
            }
        }
    }
}

void wh_conv_2d_prepare_vnni(const wh_program *program, const wh_node *node, void *prepared)
{
    uint8_t *memory = prepared;
    plan p = wh_conv_prepare(program, node, STEP, sizeof(int8_t), memory);
    const wh_tensor *weights = wh_operand_of(program, node, WH_WEIGHTS);
    const int8_t *w = (const int8_t *)program->image + weights->offset;
    wh_block *block = (void *)(memory + p.blocks_at);
    int8_t *to = (void *)(memory + p.weights_at);
    for (int32_t group = 0; group < p.out_c; group += p.per_group) {
        for (int32_t first = 0; first < p.per_group; first += WH_BLOCK, block++) {
            int32_t rest = p.per_group - first;
            pack_block(&p, w, group + first, rest < WH_BLOCK ? rest : WH_BLOCK, block, to);
            to += block_size(&p);
        }
    }
    memcpy(prepared, &p, sizeof p);
}

/* --- running ------------------------------------------------------------------------------- */

static void offset(const int8_t *from, intptr_t count, uint8_t *to)
{
    for (intptr_t i = 0; i < count; i++) {
        to[i] = (uint8_t)(from[i] + 128);
    }
}

static void offset_row(const plan *p, const int8_t *x, int32_t row, uint8_t *to)
{
    const wh_padded *image = &p->image;
    const int8_t *from = wh_row_in(image, x, row);
    memset(to, p->zero_x + 128, (size_t)p->row_stride);
    intptr_t depth = image->in_c;
    int32_t end = wh_columns_end(image);
    if (from == NULL) {
        return;
    }
    to += image->left * depth;
    if (image->step_w == 1) {
        offset(from, (end - image->left) * depth, to);
        return;
    }
    for (int32_t i = image->left; i < end; i++, to += depth) {
        offset(from, depth, to);
        from += image->step_w * depth;
    }
}

typedef struct {
    const plan *plan;
    const int32_t *runs;
    const int8_t *weights;
    const wh_block *blocks;
    intptr_t block_size;
    int32_t channels;  /* of all the blocks of the tile */
} column_of_tiles;

WH_INLINE __m512i quad(const uint8_t *from)
{
    int32_t four;
    __builtin_memcpy(&four, from, sizeof four);
    return _mm512_set1_epi32(four);
}

/* The same as wh_finish_tile, 16 channels at once: whether all outputs are sure. */
WH_INLINE int finish_fine(const wh_finishing *f, const wh_block *b, const __m512i *acc, int pixels,
                          int8_t *y, intptr_t step)
{
    __m512 scale = _mm512_loadu_ps(b->fine_scale);
    __m512 positive = _mm512_loadu_ps(b->addend[0]);
    __m512 negative = _mm512_loadu_ps(b->addend[1]);
    __m128i low = _mm_set1_epi8((int8_t)f->act_min);
    __m128i high = _mm_set1_epi8((int8_t)f->act_max);
    __m512i fraction = _mm512_set1_epi32(0xFFFF);
    __m512i least = fraction;
#pragma GCC unroll 8
    for (int i = 0; i < pixels; i++) {
        __m512i sum = acc[i * BLOCKS];
        __mmask16 is_negative = _mm512_cmplt_epi32_mask(sum, _mm512_setzero_si512());
        __m512 addend = _mm512_mask_blend_ps(is_negative, positive, negative);
        __m512i fine =
            _mm512_cvtps_epi32(_mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, addend));
        least = _mm512_min_epu32(least, _mm512_and_si512(fine, fraction));
        __m128i bytes = _mm512_cvtsepi32_epi8(_mm512_srai_epi32(fine, 16));
        bytes = _mm_min_epi8(_mm_max_epi8(bytes, low), high);
        _mm_storeu_si128((void *)(y + i * step), bytes);
    }
    __m512i limit = _mm512_set1_epi32(2 * WH_UNSURE);
    return _mm512_cmpeq_epi32_mask(_mm512_max_epu32(least, limit), least) == 0xFFFF;
}

/* PART outputs of a block, or fewer. */
WH_INLINE void finish_part(const column_of_tiles *c, int32_t block, const __m512i *acc, int pixels,
                           int8_t *y)
{
    const wh_finishing *f = &c->plan->finishing;
    const wh_block *b = c->blocks + block;
    intptr_t step = c->plan->out_c;
    int32_t count = c->channels - block * WH_BLOCK;
    if (count >= WH_BLOCK && f->way == WH_FINISH_PLAIN
        && finish_fine(f, b, acc, pixels, y, step)) {
        return;
    }
    __m256i sums[PART][2];
    for (int i = 0; i < pixels; i++) {
        _mm512_storeu_si512((void *)sums[i], acc[i * BLOCKS]);
    }
    wh_finish_rows_avx2(f, b, (const __m256i(*)[2])sums, pixels, y, step, count);
}

WH_INLINE void finish_block(const column_of_tiles *c, int32_t block, const __m512i *acc, int pixels,
                            int8_t *y)
{
    y += block * WH_BLOCK;
    if (pixels <= PART) {
        finish_part(c, block, acc + block, pixels, y);
    } else {
        finish_part(c, block, acc + block, PART, y);
        finish_part(c, block, acc + block + PART * BLOCKS, pixels - PART,
                    y + (intptr_t)PART * c->plan->out_c);
    }
}

WH_INLINE void tile(const column_of_tiles *c, const uint8_t *const *x, int8_t *y, int pixels,
                    int blocks)
{
    __m512i acc[TILE * BLOCKS];
#pragma GCC unroll 12
    for (int i = 0; i < pixels; i++) {
#pragma GCC unroll 8
        for (int b = 0; b < blocks; b++) {
            acc[i * BLOCKS + b] = _mm512_loadu_si512((const void *)c->blocks[b].bias);
        }
    }
    const int8_t *w = c->weights;
    intptr_t length = STEP * (intptr_t)c->plan->run_steps;
    for (int32_t run = 0; run < c->plan->run_count; run++) {
        intptr_t end = c->runs[run] + length;
        for (intptr_t at = c->runs[run]; at < end; at += STEP, w += WH_BLOCK * STEP) {
            __m512i weights[BLOCKS];
#pragma GCC unroll 8
            for (int b = 0; b < blocks; b++) {
                weights[b] = _mm512_loadu_si512((const void *)(w + b * c->block_size));
            }
#pragma GCC unroll 12
            for (int i = 0; i < pixels; i++) {
                __m512i four = quad(x[i] + at);
#pragma GCC unroll 8
                for (int b = 0; b < blocks; b++) {
                    acc[i * BLOCKS + b] =
                        _mm512_dpbusd_epi32(acc[i * BLOCKS + b], four, weights[b]);
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int b = 0; b < blocks; b++) {
        finish_block(c, b, acc, pixels, y);
    }
}

#define TILES(blocks, most)                                                                    \
    static void tile_##blocks(const column_of_tiles *c, const uint8_t *const *x, int8_t *y,    \
                              int32_t pixels)                                                  \
    {                                                                                          \
        switch (pixels) {                                                                      \
            case TILE: tile(c, x, y, most, blocks); break;                                     \
            case 6: tile(c, x, y, 6, blocks); break;                                           \
            case 5: tile(c, x, y, 5, blocks); break;                                           \
            case 4: tile(c, x, y, 4, blocks); break;                                           \
            case 3: tile(c, x, y, 3, blocks); break;                                           \
            case 2: tile(c, x, y, 2, blocks); break;                                           \
            default: tile(c, x, y, 1, blocks); break;                                          \
        }                                                                                      \
    }

TILES(1, TILE)
TILES(2, TILE)
TILES(4, PART)

typedef void (*tile_function)(const column_of_tiles *, const uint8_t *const *, int8_t *, int32_t);

/* All outputs of so many blocks of channels. */
static void run_column(const column_of_tiles *c, tile_function run, int32_t most,
                       const uint8_t *x, int8_t *y)
{
    const plan *p = c->plan;
    intptr_t rest = (intptr_t)p->image.out_h * p->image.out_w;
    wh_conv_cursor at = {0, 0};
    while (rest > 0) {
        int32_t pixels = rest >= most ? most : rest >= PART ? PART : (int32_t)rest;
        const uint8_t *pointers[TILE];
        for (int32_t i = 0; i < pixels; i++) {
            pointers[i] = x + at.element;
            wh_conv_advance(p, &at);
        }
        run(c, pointers, y, pixels);
        y += (intptr_t)pixels * p->out_c;
        rest -= pixels;
    }
}

static void run_image(const plan *p, const uint8_t *prepared, const uint8_t *x, int8_t *y)
{
    column_of_tiles c = {
        .plan = p,
        .runs = (const void *)(prepared + p->runs_at),
        .weights = (const void *)(prepared + p->weights_at),
        .blocks = (const void *)(prepared + p->blocks_at),
        .block_size = block_size(p),
    };
    for (int32_t group = 0; group < p->out_c; group += p->per_group, x += p->group_c) {
        int32_t first = 0;
        while (first < p->per_group) {
            int32_t rest = p->per_group - first;
            int32_t left = (rest - 1) / WH_BLOCK + 1;
            int32_t blocks = left >= BLOCKS ? BLOCKS : left >= 2 ? 2 : 1;
            c.channels = rest < blocks * WH_BLOCK ? rest : blocks * WH_BLOCK;
            run_column(&c, blocks == BLOCKS ? tile_4 : blocks == 2 ? tile_2 : tile_1,
                       blocks == BLOCKS ? PART : TILE, x, y + group + first);
            c.weights += blocks * c.block_size;
            c.blocks += blocks;
            first += blocks * WH_BLOCK;
        }
    }
}

void wh_conv_2d_vnni(const wh_call *call)
{
    const plan *p = call->prepared;
    const int8_t *x = wh_operand_int8(call, WH_X);
    int8_t *y = wh_result_int8(call);
    for (int32_t b = 0; b < p->batches; b++) {
        for (int32_t row = 0; row < p->image.rows; row++) {
            offset_row(p, x, row, call->scratch + row * p->row_stride);
        }
        run_image(p, call->prepared, call->scratch, y);
        x += (intptr_t)p->image.in_h * p->image.in_w * p->image.in_c;
        y += (intptr_t)p->image.out_h * p->image.out_w * p->out_c;
    }
}

#include "avx2_end.h"

#endif
