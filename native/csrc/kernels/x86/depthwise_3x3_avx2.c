/* DEPTHWISE_CONV_2D with the commonest filter, 3 x 3 with stride 1: two rows of outputs at once.
 *
 * vpmaddwd takes two rows of a column as a pair: padded rows 2j and 2j + 1 lie in scratch as pairs
 * (a[i], b[i]), centred and widened, and make *double row* j. Outputs of rows 2j and 2j + 1 need
 * double rows j and j + 1 only, by weights (0 1) (2 .) and (. 0) (1 2). A tile is 3 columns of both
 * rows times 16 channels. */

#if defined(__x86_64__)

#include <string.h>

#include "finish_tile.h"
#include "kernels_avx2.h"

#include "../padded.h"

#define COLUMNS 3
#define BLOCKS 4         /* of channels that a row runs through at once */
#define BEYOND 16        /* pairs that a last block may read behind a double row */
#define WEIGHTS_SIZE (2 * 2 * 3 * 2 * WH_BLOCK) /* of a block: double row, row, column, pairs */

typedef struct {
    wh_padded image;
    wh_finishing finishing;
    int32_t batches, zero_x, channels;
    intptr_t row_length;           /* bytes of an input row */
    intptr_t double_row;           /* pairs from one in scratch to the other */
    size_t blocks_at, weights_at;  /* in prepared memory, bytes */
    size_t blank_at;               /* in scratch, bytes: a row of padding */
} plan;

static int is_for_this(const wh_program *program, const wh_node *node)
{
    const wh_tensor *x = wh_operand_of(program, node, WH_X);
    const wh_tensor *w = wh_operand_of(program, node, WH_WEIGHTS);
    const int32_t *p = node->params;
    return wh_dim(w, 1) == 3 && wh_dim(w, 2) == 3 && p[WH_CONV_STRIDE_H] == 1 &&
           p[WH_CONV_STRIDE_W] == 1 && p[WH_CONV_DILATION_H] == 1 && p[WH_CONV_DILATION_W] == 1 &&
           wh_dim(w, 3) == wh_dim(x, 3) && wh_dim(x, 3) >= WH_BLOCK;
}

static plan describe(const wh_program *program, const wh_node *node)
{
    const wh_tensor *x = wh_operand_of(program, node, WH_X);
    plan p = {.image = wh_padded_of(program, node), .zero_x = x->zero_point};
    p.batches = wh_dim(x, 0);
    p.channels = p.image.in_c;
    p.row_length = (intptr_t)p.image.in_w * p.channels;
    p.double_row = (intptr_t)p.image.columns * p.channels + BEYOND;
    p.blocks_at = (sizeof p + 63) / 64 * 64;
    p.weights_at =
        p.blocks_at + (size_t)wh_block_count(p.channels, p.channels) * sizeof(wh_block);
    p.blank_at = 2 * (size_t)p.double_row * sizeof(int32_t);
    return p;
}

int wh_depthwise_3x3_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs)
{
    wh_padded image = wh_padded_of(program, node);
    if (!is_for_this(program, node) ||
        !wh_is_modest(program, node, image.rows, image.columns, (int64_t)image.in_c * 4)) {
        return 0;
    }
    plan p = describe(program, node);
    needs->prepared = p.weights_at + (size_t)wh_block_count(p.channels, p.channels) *
                                         WEIGHTS_SIZE * sizeof(int16_t);
    needs->scratch = p.blank_at + (size_t)p.row_length;
    return 1;
}

/* The filter's row that the element `half` of a pair meets; none where it is not 0, 1 or 2. */
static int32_t row_of(int32_t double_row, int32_t row, int32_t half)
{
    return 2 * double_row + half - row;
}

static void pack_block(const plan *p, const int8_t *w, int32_t first, int16_t *to)
{
    for (int32_t i = 0; i < WEIGHTS_SIZE; i++) {
        int32_t channel = first + i / 2 % WH_BLOCK;
        int32_t kx = i / (2 * WH_BLOCK) % 3;
        int32_t row = i / (2 * WH_BLOCK * 3) % 2;
        int32_t ky = row_of(i / (2 * WH_BLOCK * 3 * 2), row, i % 2);
        int is_there = channel < p->channels && ky >= 0 && ky < 3;
        to[i] = is_there ? w[(intptr_t)(3 * ky + kx) * p->channels + channel] : 0;
    }
}

void wh_depthwise_3x3_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared)
{
    plan p = describe(program, node);
    uint8_t *memory = prepared;
    wh_block_source source = {program, node, p.channels, p.channels, p.channels, 9, 1, p.channels};
    p.finishing = wh_prepare_blocks(&source, (void *)(memory + p.blocks_at));
    const wh_tensor *weights = wh_operand_of(program, node, WH_WEIGHTS);
    const int8_t *w = (const int8_t *)program->image + weights->offset;
    int16_t *to = (void *)(memory + p.weights_at);
    for (int32_t first = 0; first < p.channels; first += WH_BLOCK, to += WEIGHTS_SIZE) {
        pack_block(&p, w, first, to);
    }
    memcpy(prepared, &p, sizeof p);
}

/* --- running ------------------------------------------------------------------------------- */

/* to[i] = (a[i] - zero, b[i] - zero). */
static void pair_rows(const int8_t *a, const int8_t *b, intptr_t count, int32_t zero_x, int16_t *to)
{
    __m256i zero = _mm256_set1_epi16((int16_t)zero_x);
    intptr_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m128i first = _mm_loadu_si128((const void *)(a + i));
        __m128i second = _mm_loadu_si128((const void *)(b + i));
        __m256i low = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second));
        __m256i high = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(first, second));
        wh_store_256(to + 2 * i, _mm256_sub_epi16(low, zero));
        wh_store_256(to + 2 * i + 16, _mm256_sub_epi16(high, zero));
    }
    for (; i < count; i++) {
        to[2 * i] = (int16_t)(a[i] - zero_x);
        to[2 * i + 1] = (int16_t)(b[i] - zero_x);
    }
}

typedef struct {
    const plan *plan;
    const int16_t *weights;
    const wh_block *block;
    int32_t channels;
} stripe;

/* The sums of `columns` columns, column by column: of two rows the first before the second. */
WH_INLINE void tile(const stripe *s, const int16_t *const *x, int8_t *y, int columns, int rows,
                    int has_negative)
{
    const plan *p = s->plan;
    __m256i acc[2 * COLUMNS][2];
#pragma GCC unroll 8
    for (int i = 0; i < columns * rows; i++) {
        acc[i][0] = wh_load_256(s->block->bias);
        acc[i][1] = wh_load_256(s->block->bias + 8);
    }
    intptr_t depth = 2 * (intptr_t)p->channels;
#pragma GCC unroll 2
    for (int d = 0; d < 2; d++) {
#pragma GCC unroll 8
        for (int at = 0; at < columns + 2; at++) {
            const int16_t *weights = s->weights + d * (WEIGHTS_SIZE / 2);
            __asm__("" : "+r"(weights));  /* read from memory each time: registers are few */
            __m256i x0 = wh_load_256(x[d] + at * depth);
            __m256i x1 = wh_load_256(x[d] + at * depth + WH_BLOCK);
#pragma GCC unroll 8
            for (int tap = 0; tap < 3 * rows; tap++) {
                int column = at - tap % 3;
                int i = column * rows + tap / 3;
                const int16_t *w = weights + tap * 2 * WH_BLOCK;
                if (column >= 0 && column < columns) {
                    acc[i][0] = wh_add_products(acc[i][0], x0, wh_load_256(w));
                    acc[i][1] = wh_add_products(acc[i][1], x1, wh_load_256(w + WH_BLOCK));
                }
            }
        }
    }
    intptr_t below = rows == 1 ? p->channels : (intptr_t)p->image.out_w * p->channels;
    wh_finish_tile(&p->finishing, s->block, (const __m256i(*)[2])acc, columns * rows, y, below,
                   (rows == 1 ? 2 : 1) * (intptr_t)p->channels, s->channels, has_negative);
}

/* The tiles of some blocks beside each other. */
WH_INLINE void run_blocks(stripe s, const int16_t *const *x, int8_t *y, int32_t blocks,
                          int columns, int rows, int has_negative)
{
    int32_t rest = s.channels;
    const int16_t *at[2] = {x[0], x[1]};
    for (; blocks > 0; blocks--, rest -= WH_BLOCK) {
        s.channels = rest < WH_BLOCK ? rest : WH_BLOCK;
        tile(&s, at, y, columns, rows, has_negative);
        at[0] += 2 * WH_BLOCK;
        at[1] += 2 * WH_BLOCK;
        y += WH_BLOCK;
        s.weights += WEIGHTS_SIZE;
        s.block++;
    }
}

typedef void (*tile_function)(stripe s, const int16_t *const *, int8_t *, int32_t);

#define TILES(columns, rows)                                                                   \
    static void positive_##columns##_##rows(stripe s, const int16_t *const *x, int8_t *y,      \
                                            int32_t blocks)                                    \
    {                                                                                          \
        run_blocks(s, x, y, blocks, columns, rows, 0);                                         \
    }                                                                                          \
    static void tiles_##columns##_##rows(stripe s, const int16_t *const *x, int8_t *y,         \
                                         int32_t blocks)                                       \
    {                                                                                          \
        run_blocks(s, x, y, blocks, columns, rows, 1);                                         \
    }

TILES(1, 1)
TILES(2, 1)
TILES(3, 1)
TILES(1, 2)
TILES(2, 2)
TILES(3, 2)

/* By wh_has_negative, rows, columns. */
static const tile_function tiles[2][2][COLUMNS] = {
    {{positive_1_1, positive_2_1, positive_3_1}, {positive_1_2, positive_2_2, positive_3_2}},
    {{tiles_1_1, tiles_2_1, tiles_3_1}, {tiles_1_2, tiles_2_2, tiles_3_2}},
};

/* One or two rows of outputs; some blocks of channels at a time, so that their weights stay in the
 * first cache. */
static void run_rows(const plan *p, const uint8_t *prepared, const int16_t *const *x, int8_t *y,
                     int32_t rows)
{
    int has_negative = wh_has_negative(&p->finishing);
    stripe s = {
        .plan = p,
        .weights = (const void *)(prepared + p->weights_at),
        .block = (const void *)(prepared + p->blocks_at),
    };
    for (int32_t first = 0; first < p->channels; first += BLOCKS * WH_BLOCK) {
        s.channels = p->channels - first;
        int32_t blocks = (s.channels - 1) / WH_BLOCK + 1;
        blocks = blocks < BLOCKS ? blocks : BLOCKS;
        for (int32_t column = 0, columns; column < p->image.out_w; column += columns) {
            int32_t rest = p->image.out_w - column;
            columns = rest == 4 ? 2 : rest < COLUMNS ? rest : COLUMNS;
            intptr_t at = (intptr_t)column * p->channels + first;
            const int16_t *both[2] = {x[0] + 2 * at, x[1] + 2 * at};
            tiles[has_negative][rows - 1][columns - 1](s, both, y + at, blocks);
        }
        s.weights += blocks * WEIGHTS_SIZE;
        s.block += blocks;
    }
}

static void fill(const plan *p, const int8_t *x, const int8_t *blank, int32_t j, int16_t *to)
{
    const int8_t *a = wh_row_in(&p->image, x, 2 * j);
    const int8_t *b = wh_row_in(&p->image, x, 2 * j + 1);
    int32_t left = p->image.left;
    intptr_t count = (intptr_t)(wh_columns_end(&p->image) - left) * p->channels;
    pair_rows(a == NULL ? blank : a, b == NULL ? blank : b, count, p->zero_x,
              to + 2 * (intptr_t)left * p->channels);
}

static void run_image(const plan *p, const wh_call *call, const int8_t *x, int8_t *y)
{
    const int8_t *blank = (const void *)(call->scratch + p->blank_at);
    int16_t *double_rows[2] = {(void *)call->scratch, (void *)call->scratch};
    double_rows[1] += 2 * p->double_row;
    fill(p, x, blank, 0, double_rows[0]);
    for (int32_t oy = 0; oy < p->image.out_h; oy += 2) {
        int32_t j = oy / 2;
        fill(p, x, blank, j + 1, double_rows[(j + 1) % 2]);
        const int16_t *both[2] = {double_rows[j % 2], double_rows[(j + 1) % 2]};
        run_rows(p, call->prepared, both, y, p->image.out_h - oy == 1 ? 1 : 2);
        y += 2 * (intptr_t)p->image.out_w * p->channels;
    }
}

void wh_depthwise_3x3_avx2(const wh_call *call)
{
    const plan *p = call->prepared;
    const int8_t *x = wh_operand_int8(call, WH_X);
    int8_t *y = wh_result_int8(call);
    memset(call->scratch, 0, p->blank_at);  /* padding on both sides stays */
    memset(call->scratch + p->blank_at, p->zero_x, (size_t)p->row_length);
    for (int32_t b = 0; b < p->batches; b++) {
        run_image(p, call, x, y);
        x += p->image.in_h * p->row_length;
        y += (intptr_t)p->image.out_h * p->image.out_w * p->channels;
    }
}

#include "avx2_end.h"

#endif
