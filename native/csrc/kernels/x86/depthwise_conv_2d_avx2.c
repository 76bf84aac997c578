/* DEPTHWISE_CONV_2D, direct: vpmaddwd takes two taps of a row of the filter at once.
 *
 * For that each padded row is written to scratch as pairs (x[i], x[i + dilation]), centred and
 * widened, 8 channels to a vector; where an input channel has several outputs it is repeated.
 * Only the rows that the next outputs look at are kept, in a ring. A tile is 6 outputs of a row
 * times 16 channels. A filter's row of odd width is ended by a weight of 0. */

#if defined(__x86_64__)

#include <string.h>

#include "finish_avx2.h"
#include "kernels_avx2.h"

#include "../padded.h"

#define TILE 6
#define FLAT_MAX 1024 /* outputs of a flat row */
#define BEYOND 16  /* elements that vectors may touch behind a row; they count for nothing */

typedef struct {
    wh_padded image;
    wh_finishing finishing;
    int32_t batches;
    int32_t zero_x;
    int32_t out_c, multiplicity;
    int32_t row_outputs;   /* outputs of a row, each of as many lanes */
    int32_t lanes;         /* out_c; of a flat row all its channels of all outputs */
    int32_t pairs;         /* of a row of the filter */
    int32_t ring_rows;
    intptr_t partner;      /* elements from a tap to its partner */
    intptr_t row_length;   /* pairs of a row */
    intptr_t row_stride;   /* pairs from a row in the ring to the next */
    size_t blocks_at, weights_at;  /* in prepared memory, bytes */
    size_t ring_at;                /* in scratch, bytes; before it a padded row */
} plan;

static plan describe(const wh_program *program, const wh_node *node)
{
    const wh_tensor *x = wh_operand_of(program, node, WH_X);
    const wh_tensor *y = &program->tensors[node->output];
    plan p = {.image = wh_padded_of(program, node), .zero_x = x->zero_point};
    p.batches = wh_dim(x, 0);
    p.out_c = wh_dim(y, 3);
    p.multiplicity = p.out_c / p.image.in_c;
    int is_flat = p.image.stride_w == 1 && p.out_c < WH_BLOCK && p.image.out_w <= FLAT_MAX;
    p.row_outputs = is_flat ? 1 : p.image.out_w;
    p.lanes = is_flat ? p.image.out_w * p.out_c : p.out_c;
    p.pairs = (p.image.kernel_w + 1) / 2;
    p.ring_rows = (p.image.kernel_h - 1) * p.image.dilation_h + 1;
    p.partner = p.image.kernel_w == 1 ? 0 : (intptr_t)p.image.dilation_w * p.out_c;
    p.row_length = (intptr_t)p.image.columns * p.out_c;
    p.blocks_at = (sizeof p + 63) / 64 * 64;
    p.weights_at =
        p.blocks_at + (size_t)wh_block_count(p.lanes, p.lanes) * sizeof(wh_block);
    p.row_stride = p.row_length + BEYOND;
    p.ring_at = ((size_t)(p.row_length + p.partner) + BEYOND + 63) / 64 * 64;
    return p;
}

int wh_depthwise_conv_2d_needs_avx2(const wh_program *program, const wh_node *node,
                                    wh_needs *needs)
{
    wh_padded image = wh_padded_of(program, node);
    int64_t channels = wh_dim(&program->tensors[node->output], 3);
    int64_t columns = (int64_t)image.columns + image.dilation_w;
    if (!wh_is_modest(program, node, image.rows, columns, channels * 4)) {
        return 0;
    }
    plan p = describe(program, node);
    size_t blocks = (size_t)wh_block_count(p.lanes, p.lanes);
    needs->prepared = p.weights_at + blocks * (size_t)image.kernel_h * (size_t)p.pairs *
                                         WH_BLOCK * 2 * sizeof(int16_t);
    needs->scratch =
        p.ring_at + (size_t)p.ring_rows * (size_t)p.row_stride * sizeof(int32_t);
    return 1;
}

static void pack_weights(const plan *p, const int8_t *w, int16_t *to)
{
    for (int32_t first = 0; first < p->lanes; first += WH_BLOCK) {
        for (int32_t tap = 0; tap < p->image.kernel_h * p->pairs; tap++) {
            const int8_t *row = w + (intptr_t)(tap / p->pairs) * p->image.kernel_w * p->out_c;
            for (int32_t i = 0; i < 2 * WH_BLOCK; i++) {
                int32_t lane = first + i / 2;
                int32_t kx = 2 * (tap % p->pairs) + i % 2;
                int is_there = lane < p->lanes && kx < p->image.kernel_w;
                *to++ = is_there ? row[(intptr_t)kx * p->out_c + lane % p->out_c] : 0;
            }
        }
    }
}

void wh_depthwise_conv_2d_prepare_avx2(const wh_program *program, const wh_node *node,
                                       void *prepared)
{
    plan p = describe(program, node);
    uint8_t *memory = prepared;
    int64_t taps = (int64_t)p.image.kernel_h * p.image.kernel_w;
    wh_block_source source = {program, node, p.out_c, p.lanes, p.lanes, taps, 1, p.out_c};
    p.finishing = wh_prepare_blocks(&source, (void *)(memory + p.blocks_at));
    const wh_tensor *w = wh_operand_of(program, node, WH_WEIGHTS);
    pack_weights(&p, (const int8_t *)program->image + w->offset, (void *)(memory + p.weights_at));
    memcpy(prepared, &p, sizeof p);
}

/* --- running ------------------------------------------------------------------------------- */

/* One input column: each channel as often as it has outputs. Up to 8 are written at once, of which
 * the next channel's overwrite some; behind a row there is room for that. */
static void repeat_column(const plan *p, const int8_t *x, int8_t *to)
{
    for (int32_t c = 0; c < p->image.in_c; c++, to += p->multiplicity) {
        if (p->multiplicity <= 8) {
            uint64_t eight = (uint8_t)x[c] * (uint64_t)0x0101010101010101u;
            memcpy(to, &eight, sizeof eight);
        } else {
            memset(to, (uint8_t)x[c], (size_t)p->multiplicity);
        }
    }
}

/* A row of the input with padding on both sides, and a partner for its last elements. */
static void pad_row(const plan *p, const int8_t *from, int8_t *to)
{
    const wh_padded *image = &p->image;
    int32_t end = wh_columns_end(image);
    intptr_t depth = p->out_c;
    memset(to, (uint8_t)p->zero_x, (size_t)(image->left * depth));
    if (image->step_w == 1 && p->multiplicity == 1) {
        memcpy(to + image->left * depth, from, (size_t)((end - image->left) * depth));
    } else {
        for (int32_t i = image->left; i < end; i++) {
            intptr_t column = (intptr_t)(i - image->left) * image->step_w;
            repeat_column(p, from + column * image->in_c, to + i * depth);
        }
    }
    size_t behind = (size_t)((image->columns - end) * depth + p->partner);
    memset(to + end * depth, (uint8_t)p->zero_x, behind);
}

/* Reads 16 elements at a time, up to 15 behind the row. */
static void pair_row(const plan *p, const int8_t *row, int32_t *to)
{
    __m256i zero = _mm256_set1_epi16((int16_t)p->zero_x);
    for (intptr_t i = 0; i < p->row_length; i += 16) {
        __m128i first = _mm_loadu_si128((const void *)(row + i));
        __m128i second = _mm_loadu_si128((const void *)(row + i + p->partner));
        __m256i low = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second));
        __m256i high = _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(first, second));
        wh_store_256(to + i, _mm256_sub_epi16(low, zero));
        wh_store_256(to + i + 8, _mm256_sub_epi16(high, zero));
    }
}

static void fill_row(const plan *p, const int8_t *x, int32_t row, int8_t *padded, int32_t *ring)
{
    int32_t *to = ring + row % p->ring_rows * p->row_stride;
    const int8_t *from = wh_row_in(&p->image, x, row);
    if (from == NULL) {
        memset(to, 0, (size_t)p->row_length * sizeof *to);
        return;
    }
    pad_row(p, from, padded);
    pair_row(p, padded, to);
}

typedef struct {
    const plan *plan;
    const int32_t *ring;
    int32_t first_row;   /* padded row of the filter's first one */
    const int16_t *weights;
    const wh_block *block;
    int32_t channel, channels;
} stripe;

WH_INLINE void tile(const stripe *s, int32_t column, int8_t *y, int pixels, int vectors)
{
    const plan *p = s->plan;
    __m256i acc[TILE][2];
#pragma GCC unroll 8
    for (int i = 0; i < pixels; i++) {
        acc[i][0] = wh_load_256(s->block->bias);
        acc[i][1] = wh_load_256(s->block->bias + 8);
    }
    const int16_t *w = s->weights;
    intptr_t pixel_step = (intptr_t)p->image.stride_w * p->out_c;
    intptr_t pair_step = 2 * p->partner;
    int32_t row = s->first_row % p->ring_rows;
    for (int32_t ky = 0; ky < p->image.kernel_h; ky++) {
        const int32_t *x = s->ring + row * p->row_stride + column * pixel_step + s->channel;
        row += p->image.dilation_h;
        row -= row >= p->ring_rows ? p->ring_rows : 0;
        for (int32_t pair = 0; pair < p->pairs; pair++, w += 2 * WH_BLOCK, x += pair_step) {
            __m256i w0 = wh_load_256(w);
            __m256i w1 = vectors > 1 ? wh_load_256(w + WH_BLOCK) : w0;
#pragma GCC unroll 8
            for (int i = 0; i < pixels; i++) {
                const int32_t *at = x + i * pixel_step;
                acc[i][0] = _mm256_add_epi32(acc[i][0], _mm256_madd_epi16(wh_load_256(at), w0));
                if (vectors > 1) {
                    acc[i][1] =
                        _mm256_add_epi32(acc[i][1], _mm256_madd_epi16(wh_load_256(at + 8), w1));
                }
            }
        }
    }
    __m256i sums[TILE][2];  /* not `acc`: what a function sees would leave its registers */
#pragma GCC unroll 8
    for (int i = 0; i < pixels; i++) {
        sums[i][0] = acc[i][0];
        sums[i][1] = acc[i][vectors - 1];
    }
    wh_finish_rows_avx2(&p->finishing, s->block, (const __m256i(*)[2])sums, pixels, y, p->out_c,
                        s->channels);
}

WH_INLINE void run_row(const stripe *s, int8_t *y, int vectors)
{
    int32_t rest = s->plan->row_outputs;
    int32_t column = 0;
    while (rest > 0) {
        /* 7 to 9 are two of about the same size: small tiles are slow ones. */
        int32_t pixels = rest >= 10 || rest == TILE ? TILE
                         : rest > TILE              ? (rest + 1) / 2
                                                    : rest;
        switch (pixels) {
            case 6: tile(s, column, y, 6, vectors); break;
            case 5: tile(s, column, y, 5, vectors); break;
            case 4: tile(s, column, y, 4, vectors); break;
            case 3: tile(s, column, y, 3, vectors); break;
            case 2: tile(s, column, y, 2, vectors); break;
            default: tile(s, column, y, 1, vectors); break;
        }
        column += pixels;
        rest -= pixels;
        y += (intptr_t)pixels * s->plan->out_c;
    }
}

static void run_row_1(const stripe *s, int8_t *y)
{
    run_row(s, y, 1);
}

static void run_row_2(const stripe *s, int8_t *y)
{
    run_row(s, y, 2);
}

static void run_channels(stripe s, const uint8_t *prepared, int8_t *y)
{
    const plan *p = s.plan;
    s.weights = (const void *)(prepared + p->weights_at);
    s.block = (const void *)(prepared + p->blocks_at);
    for (s.channel = 0; s.channel < p->lanes; s.channel += WH_BLOCK) {
        int32_t rest = p->lanes - s.channel;
        s.channels = rest < WH_BLOCK ? rest : WH_BLOCK;
        (s.channels > 8 ? run_row_2 : run_row_1)(&s, y + s.channel);
        s.weights += (intptr_t)p->image.kernel_h * p->pairs * WH_BLOCK * 2;
        s.block++;
    }
}

static void run_image(const plan *p, const wh_call *call, const int8_t *x, int8_t *y)
{
    int8_t *padded = (void *)call->scratch;
    int32_t *ring = (void *)(call->scratch + p->ring_at);
    int32_t next_row = 0;
    for (int32_t oy = 0; oy < p->image.out_h; oy++) {
        int32_t first = oy * p->image.stride_h;
        next_row = next_row < first ? first : next_row;
        for (; next_row < first + p->ring_rows; next_row++) {
            fill_row(p, x, next_row, padded, ring);
        }
        stripe s = {.plan = p, .ring = ring, .first_row = first};
        run_channels(s, call->prepared, y);
        y += (intptr_t)p->image.out_w * p->out_c;
    }
}

void wh_depthwise_conv_2d_avx2(const wh_call *call)
{
    const plan *p = call->prepared;
    const int8_t *x = wh_operand_int8(call, WH_X);
    int8_t *y = wh_result_int8(call);
    for (int32_t b = 0; b < p->batches; b++) {
        run_image(p, call, x, y);
        x += (intptr_t)p->image.in_h * p->image.in_w * p->image.in_c;
        y += (intptr_t)p->image.out_h * p->image.out_w * p->out_c;
    }
}

#include "avx2_end.h"

#endif
