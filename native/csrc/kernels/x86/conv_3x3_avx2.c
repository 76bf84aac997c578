/* CONV_2D with the commonest filter, 3 x 3 with stride 1, by Winograd's F(2 x 2, 3 x 3): 16
 * products where the direct way has 36, and in integers still exact.
 *
 * A *square* is 2 x 2 outputs; they depend on 4 x 4 inputs d. With
 *
 *     B' = 1  0 -1  0     2 G = 2  0  0     A' = 1  1  1  0
 *          0  1  1  0           1  1  1          0  1 -1 -1
 *          0 -1  1  0           1 -1  1
 *          0  1  0 -1           0  0  2
 *
 * and the weights g, 4 outputs = A' [sum over channels of (2 G g 2 G') (B' d B)] A. Transformed
 * inputs and weights have 16 bits; sums may wrap, but 4 times an output may not, and does not with
 * at most 1,024 channels. */

#if defined(__x86_64__)

#include <string.h>

#include "finish_tile.h"
#include "kernels_avx2.h"
#include "wide_row.h"

#define SQUARES 6           /* that are multiplied at once */
#define PLACES 16           /* of a transformed square */
#define DEPTH_MAX 1024

typedef struct {
    wh_padded image;
    wh_finishing finishing;
    int32_t batches, zero_x, out_c;
    int32_t columns, squares;            /* squares beside each other, and in all */
    intptr_t row_stride;                 /* elements of a padded row */
    size_t blocks_at, weights_at;        /* in prepared memory, bytes */
    size_t inputs_at, products_at;       /* in scratch, bytes; before them the padded image */
} plan;

static int is_for_this(const wh_program *program, const wh_node *node)
{
    const wh_tensor *x = wh_operand_of(program, node, WH_X);
    const wh_tensor *w = wh_operand_of(program, node, WH_WEIGHTS);
    const wh_tensor *y = &program->tensors[node->output];
    const int32_t *p = node->params;
    int is_whole = wh_dim(w, 3) == wh_dim(x, 3) && wh_dim(x, 3) % 16 == 0 &&
                   wh_dim(x, 3) <= DEPTH_MAX && wh_dim(y, 1) % 2 == 0 && wh_dim(y, 2) % 2 == 0;
    return is_whole && wh_dim(w, 1) == 3 && wh_dim(w, 2) == 3 && wh_dim(w, 0) >= WH_BLOCK &&
           p[WH_CONV_STRIDE_H] == 1 && p[WH_CONV_STRIDE_W] == 1 && p[WH_CONV_DILATION_H] == 1 &&
           p[WH_CONV_DILATION_W] == 1;
}

static plan describe(const wh_program *program, const wh_node *node)
{
    const wh_tensor *x = wh_operand_of(program, node, WH_X);
    plan p = {.image = wh_padded_of(program, node), .zero_x = x->zero_point};
    p.batches = wh_dim(x, 0);
    p.out_c = wh_dim(&program->tensors[node->output], 3);
    p.columns = p.image.out_w / 2;
    p.squares = p.columns * (p.image.out_h / 2);
    p.row_stride = (intptr_t)p.image.columns * p.image.in_c;
    p.blocks_at = (sizeof p + 63) / 64 * 64;
    p.weights_at = p.blocks_at + (size_t)wh_block_count(p.out_c, p.out_c) * sizeof(wh_block);
    size_t image = (size_t)p.image.rows * (size_t)p.row_stride * sizeof(int16_t);
    p.inputs_at = (image + 63) / 64 * 64;
    p.products_at =
        p.inputs_at + (size_t)PLACES * SQUARES * (size_t)p.image.in_c * sizeof(int16_t);
    return p;
}

static intptr_t block_size(const plan *p)
{
    return (intptr_t)PLACES * p->image.in_c * WH_BLOCK;
}

int wh_conv_3x3_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs)
{
    wh_padded image = wh_padded_of(program, node);
    if (!is_for_this(program, node) ||
        !wh_is_modest(program, node, image.rows, image.columns, (int64_t)image.in_c * 2)) {
        return 0;
    }
    plan p = describe(program, node);
    size_t blocks = (size_t)wh_block_count(p.out_c, p.out_c);
    needs->prepared = p.weights_at + blocks * (size_t)block_size(&p) * sizeof(int16_t);
    needs->scratch = p.products_at + (size_t)PLACES * SQUARES * WH_BLOCK * sizeof(int32_t);
    return 1;
}

/* 2 G g of three weights that are `step` apart. */
static void transform_three(const int32_t *g, int step, int32_t *to, int to_step)
{
    to[0] = 2 * g[0];
    to[to_step] = g[0] + g[step] + g[2 * step];
    to[2 * to_step] = g[0] - g[step] + g[2 * step];
    to[3 * to_step] = 2 * g[2 * step];
}

/* What channel o's weights of input channel c become. */
static void transform_weights(const plan *p, const int8_t *w, int32_t o, int32_t c, int32_t *to)
{
    int32_t g[9], half[12];
    for (int32_t tap = 0; tap < 9; tap++) {
        g[tap] = w[((intptr_t)o * 9 + tap) * p->image.in_c + c];
    }
    for (int column = 0; column < 3; column++) {
        transform_three(g + column, 3, half + column, 3);
    }
    for (int row = 0; row < 4; row++) {
        transform_three(half + 3 * row, 1, to + 4 * row, 1);
    }
}

/* In the order of reading: block, place, pair of input channels, channel. */
static void pack_weights(const plan *p, const int8_t *w, int16_t *to)
{
    int32_t depth = p->image.in_c;
    for (int32_t o = 0; o < p->out_c; o++) {
        int16_t *block = to + o / WH_BLOCK * block_size(p) + 2 * (o % WH_BLOCK);
        for (int32_t c = 0; c < depth; c++) {
            int32_t transformed[PLACES];
            transform_weights(p, w, o, c, transformed);
            for (int32_t place = 0; place < PLACES; place++) {
                block[((intptr_t)place * depth + c / 2 * 2) * WH_BLOCK + c % 2] =
                    (int16_t)transformed[place];
            }
        }
    }
}

void wh_conv_3x3_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared)
{
    plan p = describe(program, node);
    uint8_t *memory = prepared;
    int64_t taps = 9 * (int64_t)p.image.in_c;
    wh_block_source source = {program, node, p.out_c, p.out_c, p.out_c, taps, taps, 1};
    p.finishing = wh_prepare_blocks(&source, (void *)(memory + p.blocks_at));
    const wh_tensor *w = wh_operand_of(program, node, WH_WEIGHTS);
    int16_t *weights = (void *)(memory + p.weights_at);
    memset(weights, 0, (size_t)wh_block_count(p.out_c, p.out_c) * (size_t)block_size(&p) *
                           sizeof *weights);
    pack_weights(&p, (const int8_t *)program->image + w->offset, weights);
    memcpy(prepared, &p, sizeof p);
}

/* --- running ------------------------------------------------------------------------------- */

/* B' of four vectors, the i-th of them. */
WH_INLINE __m256i input_row(const __m256i *d, int i)
{
    switch (i) {
        case 0: return _mm256_sub_epi16(d[0], d[2]);
        case 1: return _mm256_add_epi16(d[1], d[2]);
        case 2: return _mm256_sub_epi16(d[2], d[1]);
        default: return _mm256_sub_epi16(d[1], d[3]);
    }
}

/* B' d B of one square, whose places are `step` elements apart. */
static void transform_input(const plan *p, const int16_t *x, int16_t *to, intptr_t step)
{
    for (intptr_t c = 0; c < p->image.in_c; c += 16) {
#pragma GCC unroll 4
        for (int row = 0; row < 4; row++) {
            __m256i half[4];
#pragma GCC unroll 4
            for (int column = 0; column < 4; column++) {
                __m256i d[4];
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++) {
                    d[i] = wh_load_256(x + i * p->row_stride + column * p->image.in_c + c);
                }
                half[column] = input_row(d, row);
            }
#pragma GCC unroll 4
            for (int column = 0; column < 4; column++) {
                wh_store_256(to + (4 * row + column) * step + c, input_row(half, column));
            }
        }
    }
}

/* Of every place the products of so many squares and a block, summed over the channels. */
WH_INLINE void multiply(const int16_t *x, const int16_t *w, intptr_t depth, int32_t *to,
                        int squares)
{
    for (int place = 0; place < PLACES; place++, x += SQUARES * depth) {
        __m256i acc[SQUARES][2];
#pragma GCC unroll 8
        for (int i = 0; i < squares; i++) {
            acc[i][0] = _mm256_setzero_si256();
            acc[i][1] = _mm256_setzero_si256();
        }
#pragma GCC unroll 2
        for (intptr_t at = 0; at < depth; at += 2, w += 2 * WH_BLOCK) {
            __m256i w0 = wh_load_256(w);
            __m256i w1 = wh_load_256(w + WH_BLOCK);
#pragma GCC unroll 8
            for (int i = 0; i < squares; i++) {
                __m256i pair = wh_pair(x + i * depth + at);
                acc[i][0] = _mm256_add_epi32(acc[i][0], _mm256_madd_epi16(pair, w0));
                acc[i][1] = _mm256_add_epi32(acc[i][1], _mm256_madd_epi16(pair, w1));
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < squares; i++, to += WH_BLOCK) {
            wh_store_256(to, acc[i][0]);
            wh_store_256(to + 8, acc[i][1]);
        }
    }
}

static void multiply_some(const int16_t *x, const int16_t *w, intptr_t depth, int32_t *to,
                          int32_t squares)
{
    switch (squares) {
        case 6: multiply(x, w, depth, to, 6); break;
        case 5: multiply(x, w, depth, to, 5); break;
        case 4: multiply(x, w, depth, to, 4); break;
        case 3: multiply(x, w, depth, to, 3); break;
        case 2: multiply(x, w, depth, to, 2); break;
        default: multiply(x, w, depth, to, 1); break;
    }
}

/* A' of four vectors. */
WH_INLINE void output_pair(const __m256i *m, __m256i *to)
{
    to[0] = _mm256_add_epi32(_mm256_add_epi32(m[0], m[1]), m[2]);
    to[1] = _mm256_sub_epi32(_mm256_sub_epi32(m[1], m[2]), m[3]);
}

/* The sums of a square's outputs: A' m A / 4 and the bias. */
WH_INLINE void transform_output(const int32_t *m, intptr_t step, __m256i bias, __m256i *to)
{
    __m256i half[2][4];
#pragma GCC unroll 4
    for (int column = 0; column < 4; column++) {
        __m256i rows[4], two[2];
#pragma GCC unroll 4
        for (int row = 0; row < 4; row++) {
            rows[row] = wh_load_256(m + (4 * row + column) * step);
        }
        output_pair(rows, two);
        half[0][column] = two[0];
        half[1][column] = two[1];
    }
#pragma GCC unroll 2
    for (int row = 0; row < 2; row++) {
        output_pair(half[row], to + 2 * row);
        to[2 * row] = _mm256_add_epi32(_mm256_srai_epi32(to[2 * row], 2), bias);
        to[2 * row + 1] = _mm256_add_epi32(_mm256_srai_epi32(to[2 * row + 1], 2), bias);
    }
}

static void finish_square(const plan *p, const wh_block *b, const int32_t *m, intptr_t step,
                          int8_t *y, int32_t channels)
{
    __m256i low[4], high[4], sums[4][2];
    transform_output(m, step, wh_load_256(b->bias), low);
    transform_output(m + 8, step, wh_load_256(b->bias + 8), high);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        sums[i][0] = low[i];
        sums[i][1] = high[i];
    }
    wh_finish_tile(&p->finishing, b, (const __m256i(*)[2])sums, 4, y, p->out_c,
                   (intptr_t)p->image.out_w * p->out_c, channels, 1);
}

/* Where square i begins in a picture whose rows are `row` apart and whose columns are `column`. */
static intptr_t place_of(const plan *p, int32_t i, intptr_t row, intptr_t column)
{
    return 2 * (i / p->columns * row + i % p->columns * column);
}

/* Squares [first, first + count). */
static void run_squares(const plan *p, const wh_call *call, int8_t *y, int32_t first, int32_t count)
{
    const uint8_t *prepared = call->prepared;
    const int16_t *image = (const void *)call->scratch;
    int16_t *inputs = (void *)(call->scratch + p->inputs_at);
    int32_t *products = (void *)(call->scratch + p->products_at);
    const int16_t *weights = (const void *)(prepared + p->weights_at);
    const wh_block *block = (const void *)(prepared + p->blocks_at);
    intptr_t depth = p->image.in_c;
    for (int32_t i = 0; i < count; i++) {
        transform_input(p, image + place_of(p, first + i, p->row_stride, depth),
                        inputs + i * depth, SQUARES * depth);
    }
    for (int32_t o = 0; o < p->out_c; o += WH_BLOCK, weights += block_size(p), block++) {
        multiply_some(inputs, weights, depth, products, count);
        for (int32_t i = 0; i < count; i++) {
            intptr_t at = place_of(p, first + i, (intptr_t)p->image.out_w * p->out_c, p->out_c);
            finish_square(p, block, products + i * WH_BLOCK, (intptr_t)count * WH_BLOCK,
                          y + at + o, p->out_c - o);
        }
    }
}

void wh_conv_3x3_avx2(const wh_call *call)
{
    const plan *p = call->prepared;
    const int8_t *x = wh_operand_int8(call, WH_X);
    int8_t *y = wh_result_int8(call);
    int16_t *wide = (void *)call->scratch;
    for (int32_t b = 0; b < p->batches; b++) {
        for (int32_t row = 0; row < p->image.rows; row++) {
            wh_widen_row(&p->image, x, row, p->zero_x, wide + row * p->row_stride);
        }
        for (int32_t first = 0, count; first < p->squares; first += count) {
            int32_t rest = p->squares - first;
            int is_end = rest < SQUARES + SQUARES / 2;
            count = rest <= SQUARES ? rest : is_end ? (rest + 1) / 2 : SQUARES;
            run_squares(p, call, y, first, count);
        }
        x += (intptr_t)p->image.in_h * p->image.in_w * p->image.in_c;
        y += (intptr_t)p->image.out_h * p->image.out_w * p->out_c;
    }
}

#include "avx2_end.h"

#endif
