/* The inner loops of FULLY_CONNECTED and CONV_2D: sums of (x[i] - zero_point) w[i], rescaled.
 *
 * Written so that a compiler turns them into 16-bit multiply-adds. The loader bounds the number of
 * taps per output (65536), so that no sum can overflow 32 bits. */

#ifndef WHERRY_KERNELS_DOT_H
#define WHERRY_KERNELS_DOT_H

#include <stdint.h>

#include "rescale.h"

/* Rows of weights that are taken together, so that x is read and centred once for all of them. */
#define WH_DOT_ROWS 4

static inline int32_t wh_dot(const int8_t *x, const int8_t *w, int32_t count, int32_t zero_point)
{
    int32_t sum = 0;
    int16_t zero = (int16_t)zero_point;
    for (int32_t i = 0; i < count; i++) {
        int16_t centred = (int16_t)(x[i] - zero);
        sum += centred * (int16_t)w[i];
    }
    return sum;
}

/* As wh_dot, for WH_DOT_ROWS rows of `count` weights each, one after another. */
static inline void wh_dot_rows(const int8_t *x, const int8_t *w, int32_t count, int32_t zero_point,
                               int32_t sums[WH_DOT_ROWS])
{
    const int8_t *w1 = w + count;
    const int8_t *w2 = w1 + count;
    const int8_t *w3 = w2 + count;
    int16_t zero = (int16_t)zero_point;
    int32_t sum0 = 0;
    int32_t sum1 = 0;
    int32_t sum2 = 0;
    int32_t sum3 = 0;
    for (int32_t i = 0; i < count; i++) {
        int16_t centred = (int16_t)(x[i] - zero);
        sum0 += centred * (int16_t)w[i];
        sum1 += centred * (int16_t)w1[i];
        sum2 += centred * (int16_t)w2[i];
        sum3 += centred * (int16_t)w3[i];
    }
    sums[0] = sum0;
    sums[1] = sum1;
    sums[2] = sum2;
    sums[3] = sum3;
}

/* What turns a channel's sum into its output. */
typedef struct {
    const int32_t *bias, *m, *s;
    int32_t zero_y, act_min, act_max;
    int32_t is_float;  /* rule F, else D */
} wh_channels;

static inline int8_t wh_finish(const wh_channels *c, int32_t channel, int32_t sum)
{
    int32_t acc = wh_wrapping_add(sum, c->bias[channel]);
    int32_t value = c->is_float ? wh_rescale_float(acc, c->m[channel], c->s[channel])
                                : wh_rescale(acc, c->m[channel], c->s[channel]);
    return wh_to_int8(value, c->zero_y, c->act_min, c->act_max);
}

/* y[o] for every row o of w[channels, taps] against the same x[taps]. */
static inline void wh_dense(const wh_channels *c, const int8_t *x, const int8_t *w, int32_t taps,
                            int32_t channels, int32_t zero_x, int8_t *y)
{
    int32_t o = 0;
    for (; o + WH_DOT_ROWS <= channels; o += WH_DOT_ROWS) {
        int32_t sums[WH_DOT_ROWS];
        wh_dot_rows(x, w + (intptr_t)o * taps, taps, zero_x, sums);
        for (int32_t i = 0; i < WH_DOT_ROWS; i++) {
            y[o + i] = wh_finish(c, o + i, sums[i]);
        }
    }
    for (; o < channels; o++) {
        y[o] = wh_finish(c, o, wh_dot(x, w + (intptr_t)o * taps, taps, zero_x));
    }
}

#endif
