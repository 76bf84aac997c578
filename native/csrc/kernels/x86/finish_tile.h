/* The end of a tile: sums that still lie in registers become bytes there, by floats, exactly.
 *
 * Rule D is floor(acc m 2^-(31 + right) + 1/2 + e), where e is 2^-(right + 1), or minus as much
 * where acc is negative: the first of its two roundings moves the second one's tie by no more. So a
 * float is computed in units of 2^-16, and its whole part is right unless it is within WH_UNSURE
 * units of an integer. That is more than conversion, scale, product, sum and the last rounding
 * together can be off for any output that is not clamped anyway, at most 7 units, whatever the
 * thread's rounding mode is. A float that is out of range becomes INT32_MIN, which is unsure too.
 *
 * A tile with an unsure output, about two of a hundred, and one whose channels are not 16 or not
 * plain go through memory to wh_finish_pairs_avx2. */

#ifndef WHERRY_KERNELS_FINISH_TILE_H
#define WHERRY_KERNELS_FINISH_TILE_H

#include "finish_avx2.h"

/* 8 outputs in units of 2^-16, zero point and WH_UNSURE added. */
WH_INLINE __m256i wh_rescale_fine(__m256i acc, const wh_block *b, int at, int has_negative)
{
    __m256 addend = _mm256_loadu_ps(b->addend[0] + at);
    if (has_negative) {
        addend = _mm256_blendv_ps(addend, _mm256_loadu_ps(b->addend[1] + at),
                                  _mm256_castsi256_ps(acc));
    }
    return _mm256_cvtps_epi32(_mm256_fmadd_ps(_mm256_cvtepi32_ps(acc),
                                              _mm256_loadu_ps(b->fine_scale + at), addend));
}

/* The upper halves of 8 + 8 such values, of lanes 0, 8, 1, 9, …; the least of their fractions is
 * kept. */
WH_INLINE __m256i wh_whole_parts(__m256i low, __m256i high, __m256i *least)
{
    __m256i fractions = _mm256_blend_epi16(low, _mm256_slli_epi32(high, 16), 0xAA);
    *least = _mm256_min_epu16(*least, fractions);
    return _mm256_blend_epi16(_mm256_srli_epi32(low, 16), high, 0xAA);
}

/* Two of those to 32 bytes in order, clamped. */
WH_INLINE __m256i wh_whole_bytes(__m256i first, __m256i second, int32_t act_min, int32_t act_max)
{
    __m256i order = _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15, 0, 2, 4,
                                     6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    __m256i bytes = _mm256_packs_epi16(first, second);
    bytes = _mm256_max_epi8(bytes, _mm256_set1_epi8((int8_t)act_min));
    bytes = _mm256_min_epi8(bytes, _mm256_set1_epi8((int8_t)act_max));
    return _mm256_shuffle_epi8(_mm256_permute4x64_epi64(bytes, 0xD8), order);
}

WH_INLINE int wh_is_sure(__m256i least, int32_t unsure)
{
    __m256i limit = _mm256_set1_epi16((int16_t)(2 * unsure));
    return _mm256_movemask_epi8(_mm256_cmpeq_epi16(_mm256_max_epu16(least, limit), least)) == -1;
}

WH_INLINE __m256i wh_round_fine(const __m256i *acc, const wh_block *b, int has_negative,
                                __m256i *least)
{
    return wh_whole_parts(wh_rescale_fine(acc[0], b, 0, has_negative),
                          wh_rescale_fine(acc[1], b, 8, has_negative), least);
}

/* Where the activation raises whatever lies below the zero point, it does not matter how negative
 * sums are rounded. */
static inline int wh_has_negative(const wh_finishing *f)
{
    return f->act_min < f->zero_y;
}

/* As wh_finish_rows_avx2, of a number of pixels that the compiler knows, as it knows whether
 * wh_has_negative; pixels 0 and 1 of a pair are `step` apart, pairs `pair_step`. */
WH_INLINE void wh_finish_tile(const wh_finishing *f, const wh_block *b, const __m256i (*acc)[2],
                              int pixels, int8_t *y, intptr_t step, intptr_t pair_step,
                              int32_t count, int has_negative)
{
    __m256i sums[8][2];  /* not `acc`: what a function sees would leave its registers */
#pragma GCC unroll 8
    for (int i = 0; i < pixels; i++) {
        sums[i][0] = acc[i][0];
        sums[i][1] = acc[i][1];
    }
    if (count >= WH_BLOCK && f->way == WH_FINISH_PLAIN) {
        __m256i least = _mm256_set1_epi16(-1);
        int8_t *to = y;
#pragma GCC unroll 8
        for (int i = 0; i < pixels; i += 2, to += pair_step) {
            __m256i first = wh_round_fine(acc[i], b, has_negative, &least);
            __m256i second = first;
            if (i + 1 < pixels) {
                second = wh_round_fine(acc[i + 1], b, has_negative, &least);
            }
            __m256i bytes = wh_whole_bytes(first, second, f->act_min, f->act_max);
            _mm_storeu_si128((void *)to, _mm256_castsi256_si128(bytes));
            if (i + 1 < pixels) {
                _mm_storeu_si128((void *)(to + step), _mm256_extracti128_si256(bytes, 1));
            }
        }
        if (wh_is_sure(least, WH_UNSURE)) {
            return;
        }
    }
    wh_finish_pairs_avx2(f, b, (const __m256i(*)[2])sums, pixels, y, step, pair_step, count);
}

#endif
