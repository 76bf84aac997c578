/* What the finishing of sums needs to know of a node's channels, worked out once. */

#if defined(__x86_64__)

#include "finish_avx2.h"

#include <string.h>

/* The largest |sum + bias| that channel o can have, before it wraps. */
static int64_t largest_sum(const wh_block_source *s, int32_t o)
{
    const wh_tensor *weights = wh_operand_of(s->program, s->node, WH_WEIGHTS);
    const wh_tensor *bias = wh_operand_of(s->program, s->node, WH_BIAS);
    const int8_t *w = (const int8_t *)s->program->image + weights->offset + o * s->outer;
    const int32_t *b = (const void *)(s->program->image + bias->offset);
    int64_t sum = 0;
    for (int64_t i = 0; i < s->taps; i++) {
        sum += w[i * s->inner] < 0 ? -w[i * s->inner] : w[i * s->inner];
    }
    int64_t largest = sum * 255 + (b[o] < 0 ? -(int64_t)b[o] : b[o]);
    return largest > INT32_MAX ? (int64_t)INT32_MAX + 1 : largest;
}

static const int32_t *vector(const wh_block_source *s, uint32_t operand)
{
    return (const void *)(s->program->image +
                          wh_operand_of(s->program, s->node, operand)->offset);
}

/* A channel whose multiplier is 0 gives 0 by any shift. */
static int32_t shift_of(const wh_block_source *s, int32_t o)
{
    return vector(s, WH_MULTIPLIER)[o] == 0 ? -1 : vector(s, WH_SHIFT)[o];
}

static int is_plain(const wh_block_source *s, int32_t o)
{
    int32_t shift = shift_of(s, o);
    if (shift >= 0) {
        return 0;
    }
    int64_t scaled = ((largest_sum(s, o) * vector(s, WH_MULTIPLIER)[o]) >> 31) + 2;
    return scaled + ((int64_t)1 << (-shift - 1)) <= INT32_MAX;
}

/* multiplier 2^(shift - 31), exact where the multiplier has 24 bits, as rule F's have. */
static float scale_of(int32_t multiplier, int32_t shift)
{
    float scale = (float)multiplier;
    for (int32_t i = shift - 31; i < 0; i++) {
        scale /= 2;
    }
    return scale;
}

/* Zero point and half, where the sum is positive and where it is negative (finish_tile.h). */
static void fill_fine(const wh_block_source *s, int32_t right, wh_block *b, int at)
{
    float tie = 32768;
    for (int32_t i = 0; i < right; i++) {
        tie /= 2;
    }
    int32_t zero_y = s->program->tensors[s->node->output].zero_point;
    float middle = (float)(zero_y * 65536 + 32768 + WH_UNSURE);
    b->fine_scale[at] = b->scale[at] * 65536;
    b->addend[0][at] = middle + tie;
    b->addend[1][at] = middle - tie;
}

static void fill_channel(const wh_block_source *s, int32_t o, wh_block *b, int at)
{
    int32_t shift = shift_of(s, o);
    int32_t right = shift > 0 ? 0 : -shift;
    int64_t half = right > 0 ? (int64_t)1 << (right - 1) : 0;
    b->bias[at] = vector(s, WH_BIAS)[o];
    b->multiplier[at] = vector(s, WH_MULTIPLIER)[o];
    b->left[at] = shift > 0 ? shift : 0;
    b->right[at] = right;
    b->scale[at] = scale_of(b->multiplier[at], vector(s, WH_SHIFT)[o]);
    b->mask[at] = (int32_t)(((uint32_t)1 << right) - 1);
    fill_fine(s, right, b, at);
    int64_t *addends = at % 2 == 0 ? b->even_addend : b->odd_addend;
    addends[at / 2] = ((int64_t)1 << 30) + (half << 31);
    if (at % 2 != 0) {
        b->odd_multiplier[at - 1] = b->multiplier[at];
    }
}

wh_finishing wh_prepare_blocks(const wh_block_source *s, wh_block *blocks)
{
    int32_t way = WH_FINISH_PLAIN;
    for (int32_t o = 0; o < s->channels && way == WH_FINISH_PLAIN; o++) {
        way = is_plain(s, o) ? WH_FINISH_PLAIN : WH_FINISH_GENERAL;
    }
    if (s->node->rounding == WH_ROUNDING_F) {
        way = WH_FINISH_FLOAT;
    }
    memset(blocks, 0, (size_t)wh_block_count(s->lanes, s->per_group) * sizeof *blocks);
    int64_t blocks_per_group = ((int64_t)s->per_group + WH_BLOCK - 1) / WH_BLOCK;
    for (int32_t lane = 0; lane < s->lanes; lane++) {
        int32_t in_group = lane % s->per_group;
        int64_t block = lane / s->per_group * blocks_per_group + in_group / WH_BLOCK;
        fill_channel(s, lane % s->channels, &blocks[block], in_group % WH_BLOCK);
    }
    int is_dense = s->node->op == WH_FULLY_CONNECTED;
    const int32_t *act = &s->node->params[is_dense ? WH_FC_ACT_MIN : WH_CONV_ACT_MIN];
    return (wh_finishing){s->program->tensors[s->node->output].zero_point, act[0], act[1], way};
}

/* --- running ------------------------------------------------------------------------------- */

/* (acc m + addend) >> 31 of 8 lanes, modulo 2^32. */
WH_INLINE __m256i multiply_high(__m256i acc, const wh_block *b, int at, __m256i even_addend,
                                __m256i odd_addend)
{
    __m256i even = _mm256_mul_epi32(acc, wh_load_256(b->multiplier + at));
    __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(acc, 32), wh_load_256(b->odd_multiplier + at));
    even = _mm256_srli_epi64(_mm256_add_epi64(even, even_addend), 31);
    odd = _mm256_slli_epi64(_mm256_add_epi64(odd, odd_addend), 1);
    return _mm256_blend_epi32(even, odd, 0xAA);
}

/* Out of range upwards would become INT32_MIN, out of range downwards does rightly. */
WH_INLINE __m256i rescale_float(__m256i acc, const wh_block *b, int at)
{
    __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(acc), _mm256_loadu_ps(b->scale + at));
    return _mm256_cvtps_epi32(_mm256_min_ps(value, _mm256_set1_ps((float)INT16_MAX)));
}

WH_INLINE __m256i rescale(__m256i acc, const wh_block *b, int at, int way)
{
    if (way == WH_FINISH_FLOAT) {
        return rescale_float(acc, b, at);
    }
    __m256i right = wh_load_256(b->right + at);
    if (way == WH_FINISH_PLAIN) {
        __m256i v = multiply_high(acc, b, at, wh_load_256(b->even_addend + at / 2),
                                  wh_load_256(b->odd_addend + at / 2));
        return _mm256_srav_epi32(_mm256_add_epi32(v, _mm256_srai_epi32(acc, 31)), right);
    }
    __m256i half = _mm256_set1_epi64x((int64_t)1 << 30);
    __m256i v = multiply_high(_mm256_sllv_epi32(acc, wh_load_256(b->left + at)), b, at, half, half);
    __m256i mask = wh_load_256(b->mask + at);
    __m256i threshold = _mm256_add_epi32(_mm256_srli_epi32(mask, 1), _mm256_srli_epi32(v, 31));
    __m256i is_above = _mm256_cmpgt_epi32(_mm256_and_si256(v, mask), threshold);
    return _mm256_sub_epi32(_mm256_srav_epi32(v, right), is_above);
}

/* 8 + 8 values of 32 bits to 16 of 16 bits, zero point added; lanes as vpackssdw leaves them. */
WH_INLINE __m256i add_zero(__m256i low, __m256i high, const wh_finishing *f)
{
    return _mm256_adds_epi16(_mm256_packs_epi32(low, high), _mm256_set1_epi16((int16_t)f->zero_y));
}

/* Two of those to 32 bytes in order, clamped. */
WH_INLINE __m256i to_bytes(__m256i first, __m256i second, const wh_finishing *f)
{
    __m256i bytes = _mm256_packs_epi16(first, second);
    bytes = _mm256_max_epi8(bytes, _mm256_set1_epi8((int8_t)f->act_min));
    bytes = _mm256_min_epi8(bytes, _mm256_set1_epi8((int8_t)f->act_max));
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* The first `count` of 16 bytes. */
WH_INLINE void store_bytes(int8_t *y, __m128i bytes, int32_t count)
{
    if (count >= 16) {
        _mm_storeu_si128((void *)y, bytes);
        return;
    }
    uint64_t low = (uint64_t)_mm_cvtsi128_si64(bytes);
    if (count >= 8) {
        __builtin_memcpy(y, &low, 8);
        y += 8;
        count -= 8;
        low = (uint64_t)_mm_extract_epi64(bytes, 1);
    }
    if (count >= 4) {
        __builtin_memcpy(y, &low, 4);
        y += 4;
        count -= 4;
        low >>= 32;
    }
    for (int i = 0; i < 3; i++, low >>= 8) {
        if (i < count) {
            y[i] = (int8_t)low;
        }
    }
}

WH_INLINE void finish_rows(const wh_finishing *f, const wh_block *b, const __m256i (*sums)[2],
                           int32_t pixels, int8_t *y, intptr_t step, int32_t count, int way)
{
    for (int32_t i = 0; i < pixels; i += 2, y += 2 * step) {
        __m256i first =
            add_zero(rescale(sums[i][0], b, 0, way), rescale(sums[i][1], b, 8, way), f);
        __m256i second = first;
        if (i + 1 < pixels) {
            const __m256i *next = sums[i + 1];
            second = add_zero(rescale(next[0], b, 0, way), rescale(next[1], b, 8, way), f);
        }
        __m256i bytes = to_bytes(first, second, f);
        store_bytes(y, _mm256_castsi256_si128(bytes), count);
        if (i + 1 < pixels) {
            store_bytes(y + step, _mm256_extracti128_si256(bytes, 1), count);
        }
    }
}

void wh_finish_rows_avx2(const wh_finishing *f, const wh_block *b, const __m256i (*sums)[2],
                         int32_t pixels, int8_t *y, intptr_t step, int32_t count)
{
    if (f->way == WH_FINISH_PLAIN) {
        finish_rows(f, b, sums, pixels, y, step, count, WH_FINISH_PLAIN);
    } else if (f->way == WH_FINISH_FLOAT) {
        finish_rows(f, b, sums, pixels, y, step, count, WH_FINISH_FLOAT);
    } else {
        finish_rows(f, b, sums, pixels, y, step, count, WH_FINISH_GENERAL);
    }
}

void wh_finish_pairs_avx2(const wh_finishing *f, const wh_block *b, const __m256i (*sums)[2],
                          int32_t pixels, int8_t *y, intptr_t step, intptr_t pair_step,
                          int32_t count)
{
    for (int32_t i = 0; i < pixels; i += 2, y += pair_step) {
        wh_finish_rows_avx2(f, b, sums + i, pixels - i < 2 ? 1 : 2, y, step, count);
    }
}

#include "avx2_end.h"

#endif
