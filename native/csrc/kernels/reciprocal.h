/* A reciprocal in gemmlowp's fixed point: Newton-Raphson from a straight line, relative error below
 * 2^-28. Qi.f: i integer bits, f fraction bits. */

#ifndef WHERRY_KERNELS_RECIPROCAL_H
#define WHERRY_KERNELS_RECIPROCAL_H

#include "rescale.h"

#define WH_ONE_Q0 INT32_MAX

static inline int32_t wh_saturating_shift_left(int32_t v, int32_t shift)
{
    int64_t wide = (int64_t)v * ((int64_t)1 << shift);
    return wide > INT32_MAX ? INT32_MAX : wide < INT32_MIN ? INT32_MIN : (int32_t)wide;
}

/* 1 / (1 + a) for a in [0, 1), Q0.31: three Newton-Raphson steps in Q2.29. */
static inline int32_t wh_reciprocal_of_one_plus(int32_t a)
{
    const int32_t c48_over_17 = 1515870810;
    const int32_t minus_32_over_17 = -1010580540;
    int32_t half_denominator = (int32_t)(((int64_t)a + WH_ONE_Q0 + 1) / 2);
    int32_t x = c48_over_17 + wh_multiply_high(half_denominator, minus_32_over_17);
    for (int step = 0; step < 3; step++) {
        int32_t residual = (1 << 29) - wh_multiply_high(half_denominator, x);
        x += wh_saturating_shift_left(wh_multiply_high(x, residual), 2);
    }
    return wh_saturating_shift_left(x, 1);
}

static inline int32_t wh_leading_zeros(uint32_t v)
{
    int32_t zeros = 0;
    for (; zeros < 32 && (v & 0x80000000u) == 0; zeros++) {
        v <<= 1;
    }
    return zeros;
}

#endif
