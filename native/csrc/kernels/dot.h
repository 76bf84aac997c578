/* The inner loop of FULLY_CONNECTED and CONV_2D: sum of (x[i] - zero_point) w[i].
 *
 * Written so that a compiler turns it into 16-bit multiply-adds. The loader bounds the number of
 * taps per output (65536), so that the sum cannot overflow 32 bits. */

#ifndef WHERRY_KERNELS_DOT_H
#define WHERRY_KERNELS_DOT_H

#include <stdint.h>

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

#endif
