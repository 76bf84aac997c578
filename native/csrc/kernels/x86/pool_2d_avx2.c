/* AVERAGE_POOL_2D and MAX_POOL_2D, 16 channels at a time; the taps of a window are those inside the
 * input. Sums are kept in 16 bits for up to 256 taps, then in 32. A sum is divided by the count in
 * double precision: the quotient of two integers below 2^31 is at least 2^-31 away from the next
 * integer, or is one, so truncating it is exact. */

#if defined(__x86_64__)

#include "../../core/layout.h"
#include "avx2.h"
#include "kernels_avx2.h"

#include <string.h>

#include "../window.h"

#define TAPS_IN_16_BITS 256

typedef struct {
    const int8_t *x;      /* the window's first tap inside the input */
    intptr_t row_stride;  /* bytes */
    int32_t rows, columns, channels;
    int32_t act_min, act_max;
} window;

typedef __m128i (*reduction)(const window *w, int32_t channel);

/* 16 channels of a tap, or as many as there are; the others are 0. */
WH_INLINE __m128i tap(const window *w, intptr_t row, intptr_t column, int32_t channel)
{
    const int8_t *x = w->x + row * w->row_stride + column * w->channels + channel;
    if (channel + 16 <= w->channels) {
        return _mm_loadu_si128((const void *)x);
    }
    int8_t some[16] = {0};
    memcpy(some, x, (size_t)(w->channels - channel));
    return _mm_loadu_si128((const void *)some);
}

WH_INLINE __m128i clamped(const window *w, __m128i bytes)
{
    bytes = _mm_max_epi8(bytes, _mm_set1_epi8((int8_t)w->act_min));
    return _mm_min_epi8(bytes, _mm_set1_epi8((int8_t)w->act_max));
}

/* round(sum / count) of 8 lanes, halves away from zero. */
WH_INLINE __m256i divided(__m256i sum, int32_t count)
{
    __m256d divisor = _mm256_set1_pd((double)count);
    __m256i half = _mm256_set1_epi32(count / 2);
    __m256i n = _mm256_add_epi32(sum, _mm256_sign_epi32(half, sum));
    __m256d low = _mm256_div_pd(_mm256_cvtepi32_pd(_mm256_castsi256_si128(n)), divisor);
    __m256d high = _mm256_div_pd(_mm256_cvtepi32_pd(_mm256_extracti128_si256(n, 1)), divisor);
    __m256i quotients = _mm256_castsi128_si256(_mm256_cvttpd_epi32(low));
    return _mm256_inserti128_si256(quotients, _mm256_cvttpd_epi32(high), 1);
}

static __m128i average(const window *w, int32_t channel)
{
    __m256i low = _mm256_setzero_si256(), high = low, words = low;
    int32_t pending = 0;
    for (int32_t row = 0; row < w->rows; row++) {
        for (int32_t column = 0; column < w->columns; column++) {
            words = _mm256_add_epi16(words, _mm256_cvtepi8_epi16(tap(w, row, column, channel)));
            if (++pending == TAPS_IN_16_BITS) {
                low = _mm256_add_epi32(low,
                                       _mm256_cvtepi16_epi32(_mm256_castsi256_si128(words)));
                high = _mm256_add_epi32(high,
                                        _mm256_cvtepi16_epi32(_mm256_extracti128_si256(words, 1)));
                words = _mm256_setzero_si256();
                pending = 0;
            }
        }
    }
    low = _mm256_add_epi32(low, _mm256_cvtepi16_epi32(_mm256_castsi256_si128(words)));
    high = _mm256_add_epi32(high, _mm256_cvtepi16_epi32(_mm256_extracti128_si256(words, 1)));
    int32_t count = w->rows * w->columns;
    words = _mm256_packs_epi32(divided(low, count), divided(high, count));
    words = _mm256_permute4x64_epi64(words, 0xD8);
    return clamped(w, _mm_packs_epi16(_mm256_castsi256_si128(words),
                                      _mm256_extracti128_si256(words, 1)));
}

static __m128i maximum(const window *w, int32_t channel)
{
    __m128i best = _mm_set1_epi8(INT8_MIN);
    for (int32_t row = 0; row < w->rows; row++) {
        for (int32_t column = 0; column < w->columns; column++) {
            best = _mm_max_epi8(best, tap(w, row, column, channel));
        }
    }
    return clamped(w, best);
}

static void one_output(const window *w, reduction reduce, int8_t *y)
{
    for (int32_t channel = 0; channel < w->channels; channel += 16) {
        __m128i bytes = reduce(w, channel);
        if (channel + 16 <= w->channels) {
            _mm_storeu_si128((void *)(y + channel), bytes);
        } else {
            int8_t some[16];
            _mm_storeu_si128((void *)some, bytes);
            memcpy(y + channel, some, (size_t)(w->channels - channel));
        }
    }
}

static void pool(const wh_call *call, reduction reduce)
{
    const wh_tensor *in = wh_operand(call, 0);
    const wh_tensor *out = wh_result(call);
    const int32_t *p = call->node->params;
    const int8_t *x = wh_operand_int8(call, 0);
    int8_t *y = wh_result_int8(call);
    window w = {.channels = wh_dim(in, 3), .act_min = p[WH_POOL_ACT_MIN],
                .act_max = p[WH_POOL_ACT_MAX]};
    w.row_stride = (intptr_t)wh_dim(in, 2) * w.channels;
    for (int32_t b = 0; b < wh_dim(in, 0); b++, x += wh_dim(in, 1) * w.row_stride) {
        for (int32_t oy = 0; oy < wh_dim(out, 1); oy++) {
            wh_window rows = wh_window_at(oy, p[WH_POOL_STRIDE_H], p[WH_POOL_PAD_TOP], 1,
                                          p[WH_POOL_FILTER_H], wh_dim(in, 1));
            w.rows = rows.end - rows.first;
            for (int32_t ox = 0; ox < wh_dim(out, 2); ox++, y += w.channels) {
                wh_window columns = wh_window_at(ox, p[WH_POOL_STRIDE_W], p[WH_POOL_PAD_LEFT], 1,
                                                 p[WH_POOL_FILTER_W], wh_dim(in, 2));
                w.columns = columns.end - columns.first;
                w.x = x + (rows.origin + rows.first) * w.row_stride +
                      (intptr_t)(columns.origin + columns.first) * w.channels;
                one_output(&w, reduce, y);
            }
        }
    }
}

void wh_average_pool_2d_avx2(const wh_call *call)
{
    pool(call, average);
}

void wh_max_pool_2d_avx2(const wh_call *call)
{
    pool(call, maximum);
}

#include "avx2_end.h"

#endif
