/* FULLY_CONNECTED of one row by vpmaddwd. Weights are read once, so they stay 8 bits wide, in the
 * order of reading: block of 32 channels, pair of inputs, channel. */

#if defined(__x86_64__)

#include <string.h>

#include "dense_avx2.h"

#define CHANNELS WH_DENSE_CHANNELS

typedef struct {
    wh_finishing finishing;
    int32_t inputs, outputs, zero_x;
    int32_t pairs;
    size_t blocks_at, weights_at;
} plan;

static plan describe(const wh_program *program, const wh_node *node)
{
    const wh_tensor *w = wh_operand_of(program, node, WH_WEIGHTS);
    plan p = {
        .inputs = wh_dim(w, 1),
        .outputs = wh_dim(w, 0),
        .zero_x = wh_operand_of(program, node, WH_X)->zero_point,
    };
    p.pairs = (p.inputs + 1) / 2;
    p.blocks_at = (sizeof p + 63) / 64 * 64;
    /* One block more than there may be, so that the last 32 channels have two. */
    p.weights_at =
        p.blocks_at + (size_t)(wh_block_count(p.outputs, p.outputs) + 1) * sizeof(wh_block);
    return p;
}

int wh_dense_words_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs)
{
    plan p = describe(program, node);
    size_t groups = ((size_t)p.outputs + CHANNELS - 1) / CHANNELS;
    needs->prepared = p.weights_at + groups * (size_t)p.pairs * 2 * CHANNELS;
    needs->scratch = (size_t)p.pairs * 2 * sizeof(int16_t) + 64;
    return wh_has_one_row(program, node);
}

static void pack_weights(const plan *p, const int8_t *w, int8_t *to)
{
    for (int32_t first = 0; first < p->outputs; first += CHANNELS) {
        for (int32_t pair = 0; pair < p->pairs; pair++) {
            for (int32_t i = 0; i < 2 * CHANNELS; i++) {
                int32_t o = first + i / 2;
                int32_t input = 2 * pair + i % 2;
                int is_there = o < p->outputs && input < p->inputs;
                *to++ = is_there ? w[(intptr_t)o * p->inputs + input] : 0;
            }
        }
    }
}

void wh_dense_words_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared)
{
    plan p = describe(program, node);
    uint8_t *memory = prepared;
    wh_block_source source = {program, node, p.outputs, p.outputs, p.outputs,
                              p.inputs, p.inputs, 1};
    memset(memory + p.blocks_at, 0, p.weights_at - p.blocks_at);
    p.finishing = wh_prepare_blocks(&source, (void *)(memory + p.blocks_at));
    const wh_tensor *w = wh_operand_of(program, node, WH_WEIGHTS);
    pack_weights(&p, (const int8_t *)program->image + w->offset, (void *)(memory + p.weights_at));
    memcpy(prepared, &p, sizeof p);
}

WH_INLINE __m256i widened(const int8_t *from)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)from));
}

/* Sums of 32 channels. */
static void sum(const plan *p, const int16_t *x, const int8_t *w, const wh_block *b,
                __m256i acc[2][2])
{
    __m256i a0 = wh_load_256(b[0].bias), a1 = wh_load_256(b[0].bias + 8);
    __m256i a2 = wh_load_256(b[1].bias), a3 = wh_load_256(b[1].bias + 8);
    for (int32_t i = 0; i < p->pairs; i++, w += 2 * CHANNELS) {
        __m256i pair = wh_pair(x + 2 * i);
        a0 = _mm256_add_epi32(a0, _mm256_madd_epi16(pair, widened(w)));
        a1 = _mm256_add_epi32(a1, _mm256_madd_epi16(pair, widened(w + 16)));
        a2 = _mm256_add_epi32(a2, _mm256_madd_epi16(pair, widened(w + 32)));
        a3 = _mm256_add_epi32(a3, _mm256_madd_epi16(pair, widened(w + 48)));
    }
    acc[0][0] = a0;
    acc[0][1] = a1;
    acc[1][0] = a2;
    acc[1][1] = a3;
}

void wh_dense_words_avx2(const wh_call *call)
{
    const plan *p = call->prepared;
    const uint8_t *memory = call->prepared;
    const wh_block *blocks = (const void *)(memory + p->blocks_at);
    const int8_t *w = (const void *)(memory + p->weights_at);
    int16_t *wide = (void *)call->scratch;
    int8_t *y = wh_result_int8(call);
    wide[2 * p->pairs - 1] = 0;
    wh_widen(wh_operand_int8(call, WH_X), p->inputs, p->zero_x, wide);
    for (int32_t first = 0; first < p->outputs; first += CHANNELS, blocks += 2) {
        __m256i acc[2][2];
        sum(p, wide, w, blocks, acc);
        w += (intptr_t)p->pairs * 2 * CHANNELS;
        wh_dense_finish(&p->finishing, blocks, (const __m256i(*)[2])acc, y, first, p->outputs);
    }
}

#include "avx2_end.h"

#endif
