/* FULLY_CONNECTED of one row by vpmaddubsw, which takes bytes as they lie, four inputs at a time.
 *
 * It adds two products in 16 bits and saturates; but the input, offset by 128, is at most 255,
 * so that nothing can saturate where |w1| + |w2| <= 128 for every pair. Four inputs of 32
 * channels for which that does not hold are taken twice, each time with about half the weights:
 * they sum to the same. Layers with many of those are left to 16 bits. The offset is taken back
 * in the bias: sum (x - zero) w = sum (x + 128) w - (128 + zero) sum w. */

#if defined(__x86_64__)

#include "dense_avx2.h"

#include <string.h>

#define QUAD 4
#define HALF_MAX 128  /* |w1| + |w2| that cannot saturate */

typedef struct {
    wh_finishing finishing;
    int32_t inputs, outputs;
    int32_t groups;  /* of WH_DENSE_CHANNELS */
    int64_t steps;   /* of all groups */
    size_t blocks_at, counts_at, places_at, weights_at;
} plan;

/* A step of a group: four inputs, 32 channels; a table has the input that it begins with. */
#define STEP_SIZE (WH_DENSE_CHANNELS * QUAD)

static const int8_t *weights_of(const wh_program *program, const wh_node *node)
{
    return (const int8_t *)program->image + wh_operand_of(program, node, WH_WEIGHTS)->offset;
}

/* Bit i: the i-th of 8 quads from `at` on has a pair of weights that could saturate. */
static uint32_t unsafe_quads(const plan *p, const int8_t *w, int32_t first, int32_t at)
{
    __m256i largest = _mm256_setzero_si256();
    for (int32_t o = first; o < first + WH_DENSE_CHANNELS && o < p->outputs; o++) {
        const int8_t *row = w + (intptr_t)o * p->inputs + at;
        int8_t some[8 * QUAD] = {0};
        if (at + 8 * QUAD > p->inputs) {
            memcpy(some, row, (size_t)(p->inputs - at));
            row = some;
        }
        __m256i magnitudes = _mm256_abs_epi8(wh_load_256(row));
        __m256i sums = _mm256_maddubs_epi16(magnitudes, _mm256_set1_epi8(1));
        largest = _mm256_max_epi16(largest, sums);
    }
    __m256i is_unsafe = _mm256_cmpgt_epi16(largest, _mm256_set1_epi16(HALF_MAX));
    is_unsafe = _mm256_cmpgt_epi32(_mm256_setzero_si256(),
                                   _mm256_or_si256(is_unsafe, _mm256_slli_epi32(is_unsafe, 16)));
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(is_unsafe));
}

static int32_t steps_of(const plan *p, const int8_t *w, int32_t group)
{
    int32_t count = (p->inputs + QUAD - 1) / QUAD;
    for (int32_t at = 0; at < p->inputs; at += 8 * QUAD) {
        uint32_t unsafe = unsafe_quads(p, w, group * WH_DENSE_CHANNELS, at);
        count += __builtin_popcount(unsafe);
    }
    return count;
}

static plan describe(const wh_program *program, const wh_node *node)
{
    const wh_tensor *w = wh_operand_of(program, node, WH_WEIGHTS);
    plan p = {.inputs = wh_dim(w, 1), .outputs = wh_dim(w, 0)};
    p.groups = (p.outputs - 1) / WH_DENSE_CHANNELS + 1;
    for (int32_t group = 0; group < p.groups; group++) {
        p.steps += steps_of(&p, weights_of(program, node), group);
    }
    p.blocks_at = (sizeof p + 63) / 64 * 64;
    p.counts_at = p.blocks_at + (size_t)p.groups * 2 * sizeof(wh_block);
    p.places_at = p.counts_at + (size_t)p.groups * sizeof(int32_t);
    p.weights_at = (p.places_at + (size_t)p.steps * sizeof(int32_t) + 63) / 64 * 64;
    return p;
}

int wh_dense_bytes_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs)
{
    if (!wh_has_one_row(program, node)) {
        return 0;
    }
    plan p = describe(program, node);
    int64_t quads = ((int64_t)p.inputs + QUAD - 1) / QUAD * p.groups;
    needs->prepared = p.weights_at + (size_t)p.steps * STEP_SIZE;
    needs->scratch = (size_t)p.inputs + 64;
    return p.steps <= quads + quads / 4;
}

/* Where the next step is written. */
typedef struct {
    int32_t *place;
    int8_t *weights;
} writer;

/* One step, or two halves of it. */
static void pack(const plan *p, const int8_t *w, int32_t first, int32_t at, int parts, writer *to)
{
    int32_t channels = p->outputs - first;
    int32_t inputs = p->inputs - at;
    channels = channels < WH_DENSE_CHANNELS ? channels : WH_DENSE_CHANNELS;
    inputs = inputs < QUAD ? inputs : QUAD;
    for (int part = 0; part < parts; part++, to->weights += STEP_SIZE) {
        *to->place++ = at;
        memset(to->weights, 0, STEP_SIZE);
        for (int32_t o = 0; o < channels; o++) {
            const int8_t *row = w + (intptr_t)(first + o) * p->inputs + at;
            for (int32_t i = 0; i < inputs; i++) {
                int half = row[i] / 2;
                int whole = row[i];
                to->weights[o * QUAD + i] =
                    (int8_t)(parts == 1 ? whole : part == 0 ? half : whole - half);
            }
        }
    }
}

static void pack_group(const plan *p, const int8_t *w, int32_t group, writer *to)
{
    int32_t first = group * WH_DENSE_CHANNELS;
    uint32_t unsafe = 0;
    for (int32_t at = 0; at < p->inputs; at += QUAD, unsafe >>= 1) {
        if (at % (8 * QUAD) == 0) {
            unsafe = unsafe_quads(p, w, first, at);
        }
        pack(p, w, first, at, (unsafe & 1) != 0 ? 2 : 1, to);
    }
}

static void correct_bias(const plan *p, const int8_t *w, int32_t zero_x, wh_block *blocks)
{
    for (int32_t o = 0; o < p->outputs; o++) {
        int32_t sum = 0;
        for (int32_t i = 0; i < p->inputs; i++) {
            sum += w[(intptr_t)o * p->inputs + i];
        }
        int32_t *bias = &blocks[o / WH_BLOCK].bias[o % WH_BLOCK];
        *bias = (int32_t)((uint32_t)*bias - (uint32_t)(128 + zero_x) * (uint32_t)sum);
    }
}

void wh_dense_bytes_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared)
{
    plan p = describe(program, node);
    uint8_t *memory = prepared;
    const int8_t *w = weights_of(program, node);
    wh_block *blocks = (void *)(memory + p.blocks_at);
    int32_t *counts = (void *)(memory + p.counts_at);
    writer to = {(void *)(memory + p.places_at), (void *)(memory + p.weights_at)};
    wh_block_source source = {program, node, p.outputs, p.outputs, p.outputs,
                              p.inputs, p.inputs, 1};
    memset(memory + p.blocks_at, 0, p.weights_at - p.blocks_at);
    p.finishing = wh_prepare_blocks(&source, blocks);
    correct_bias(&p, w, wh_operand_of(program, node, WH_X)->zero_point, blocks);
    for (int32_t group = 0; group < p.groups; group++) {
        const int32_t *begin = to.place;
        pack_group(&p, w, group, &to);
        counts[group] = (int32_t)(to.place - begin);
    }
    memcpy(prepared, &p, sizeof p);
}

/* --- running ------------------------------------------------------------------------------- */

WH_INLINE __m256i add(__m256i acc, __m256i x, const int8_t *w)
{
    __m256i pairs = _mm256_maddubs_epi16(x, wh_load_256(w));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

static void sum(const int32_t *place, const int8_t *w, int32_t count, const uint8_t *x,
                const wh_block *b, __m256i acc[2][2])
{
    __m256i a0 = wh_load_256(b[0].bias), a1 = wh_load_256(b[0].bias + 8);
    __m256i a2 = wh_load_256(b[1].bias), a3 = wh_load_256(b[1].bias + 8);
    for (int32_t i = 0; i < count; i++, w += STEP_SIZE) {
        __m256i quad = wh_pair((const void *)(x + place[i]));
        a0 = add(a0, quad, w);
        a1 = add(a1, quad, w + 32);
        a2 = add(a2, quad, w + 64);
        a3 = add(a3, quad, w + 96);
    }
    acc[0][0] = a0;
    acc[0][1] = a1;
    acc[1][0] = a2;
    acc[1][1] = a3;
}

/* to[i] = x[i] + 128; what lies behind the last one meets weights of 0. */
static void offset_input(const int8_t *x, int32_t count, uint8_t *to)
{
    __m256i offset = _mm256_set1_epi8((char)-128);
    int32_t i = 0;
    for (; i + 32 <= count; i += 32) {
        wh_store_256(to + i, _mm256_xor_si256(wh_load_256(x + i), offset));
    }
    for (; i < count; i++) {
        to[i] = (uint8_t)(x[i] + 128);
    }
}

void wh_dense_bytes_avx2(const wh_call *call)
{
    const plan *p = call->prepared;
    const uint8_t *memory = call->prepared;
    const wh_block *blocks = (const void *)(memory + p->blocks_at);
    const int32_t *counts = (const void *)(memory + p->counts_at);
    const int32_t *place = (const void *)(memory + p->places_at);
    const int8_t *w = (const void *)(memory + p->weights_at);
    int8_t *y = wh_result_int8(call);
    offset_input(wh_operand_int8(call, WH_X), p->inputs, call->scratch);
    for (int32_t group = 0; group < p->groups; group++, blocks += 2) {
        __m256i acc[2][2];
        sum(place, w, counts[group], call->scratch, blocks, acc);
        place += counts[group];
        w += (intptr_t)counts[group] * STEP_SIZE;
        wh_dense_finish(&p->finishing, blocks, (const __m256i(*)[2])acc, y,
                        group * WH_DENSE_CHANNELS, p->outputs);
    }
}

#include "avx2_end.h"

#endif
