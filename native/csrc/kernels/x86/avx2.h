/* Everything behind this include is compiled for AVX2 and FMA, and run only where the processor
 * has both. */

#ifndef WHERRY_KERNELS_AVX2_H
#define WHERRY_KERNELS_AVX2_H

#include <stdint.h>

#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#define WH_INLINE static inline __attribute__((always_inline))

WH_INLINE __m256i wh_load_256(const void *from)
{
    return _mm256_loadu_si256(from);
}

WH_INLINE void wh_store_256(void *to, __m256i value)
{
    _mm256_storeu_si256(to, value);
}

/* A pair of 16-bit values in every 32-bit lane. */
WH_INLINE __m256i wh_pair(const int16_t *from)
{
    int32_t pair;
    __builtin_memcpy(&pair, from, sizeof pair);
    return _mm256_set1_epi32(pair);
}

/* sum + a b, of pairs. The empty instruction keeps the order of additions: where gcc sees a loop
 * unrolled, it makes trees of them, for which there are not enough registers. */
WH_INLINE __m256i wh_add_products(__m256i sum, __m256i a, __m256i b)
{
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    __asm__("" : "+x"(sum));
    return sum;
}

/* to[i] = x[i] - zero_x, in 16 bits. */
WH_INLINE void wh_widen(const int8_t *x, intptr_t count, int32_t zero_x, int16_t *to)
{
    __m256i zero = _mm256_set1_epi16((int16_t)zero_x);
    intptr_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(x + i)));
        wh_store_256(to + i, _mm256_sub_epi16(wide, zero));
    }
    for (; i + 8 <= count; i += 8) {
        __m128i wide = _mm_cvtepi8_epi16(_mm_loadl_epi64((const void *)(x + i)));
        _mm_storeu_si128((void *)(to + i), _mm_sub_epi16(wide, _mm256_castsi256_si128(zero)));
    }
    for (; i < count; i++) {
        to[i] = (int16_t)(x[i] - zero_x);
    }
}

#endif
