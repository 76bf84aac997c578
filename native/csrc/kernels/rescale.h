/* The rounding rules. D is gemmlowp's double rounding, as TFLite Micro and CMSIS-NN compute it; W
 * and F are described where they stand (docs/SPEC-program.md has them all).
 *
 * A multiplier is a 31-bit fraction; a positive shift goes left before, a negative one right after.
 * Right shifts of negative numbers are arithmetic, as on every compiler that we build with. */

#ifndef WHERRY_KERNELS_RESCALE_H
#define WHERRY_KERNELS_RESCALE_H

#include <stdint.h>

/* round(a m / 2^31), ties up. At least one of the two is not INT32_MIN. */
static inline int32_t wh_multiply_high(int32_t a, int32_t m)
{
    return (int32_t)(((int64_t)a * m + ((int64_t)1 << 30)) >> 31);
}

/* round(v / 2^exponent), ties away from zero; exponent in [0, 62]. */
static inline int32_t wh_divide_by_power(int32_t v, int32_t exponent)
{
    if (exponent == 0) {
        return v;
    }
    int64_t half = (int64_t)1 << (exponent - 1);
    return (int32_t)((v + half - (v < 0)) >> exponent);
}

static inline int32_t wh_shift_left(int32_t v, int32_t shift)
{
    return (int32_t)((uint32_t)v << shift);
}

/* round(acc m 2^shift / 2^31); m in [0, 2^31), shift in [-31, 30]. */
static inline int32_t wh_rescale(int32_t acc, int32_t m, int32_t shift)
{
    int32_t left = shift > 0 ? shift : 0;
    int32_t right = shift > 0 ? 0 : -shift;
    return wh_divide_by_power(wh_multiply_high(wh_shift_left(acc, left), m), right);
}

static inline int32_t wh_clamp(int32_t v, int32_t low, int32_t high)
{
    return v < low ? low : v > high ? high : v;
}

/* v + zero_point, clamped; the sum saturates where TFLite's would overflow. */
static inline int8_t wh_to_int8(int32_t v, int32_t zero_point, int32_t low, int32_t high)
{
    int32_t bounded = wh_clamp(v, -(1 << 24), 1 << 24);
    return (int8_t)wh_clamp(bounded + zero_point, low, high);
}

/* The same for a 16-bit output; its zero point is 0. */
static inline int16_t wh_to_int16(int32_t v, int32_t zero_point, int32_t low, int32_t high)
{
    return (int16_t)wh_clamp(wh_clamp(v, -(1 << 24), 1 << 24) + zero_point, low, high);
}

/* Rule W: round(acc m 2^shift / 2^31) with the upper 16 bits of m; acc in [-2^47, 2^47], shift in
 * [-31, 7]. */
static inline int64_t wh_rescale_wide(int64_t acc, int32_t m, int32_t shift)
{
    int64_t reduced = m < 0x7FFF0000 ? (m + (1 << 15)) >> 16 : 0x7FFF;
    int32_t right = 15 - shift;
    return (acc * reduced + ((int64_t)1 << (right - 1))) >> right;
}

/* round(v / 2^exponent), ties to even; exponent in [0, 63]. */
static inline uint64_t wh_divide_to_even(uint64_t v, int32_t exponent)
{
    if (exponent == 0) {
        return v;
    }
    uint64_t half = (uint64_t)1 << (exponent - 1);
    uint64_t whole = v >> exponent;
    uint64_t rest = v & (((uint64_t)1 << exponent) - 1);
    return whole + (rest > half || (rest == half && (whole & 1) != 0));
}

/* The bits of v beyond the first 24: those that a float32 has no room for. */
static inline int32_t wh_bits_beyond_float(uint64_t v)
{
    int32_t bits = 0;
    while (v >> bits >= (uint64_t)1 << 24) {
        bits++;
    }
    return bits;
}

/* Rule F: acc as float32, times the float32 m 2^(shift - 31), to the nearest integer, each step by
 * ties to even; in integers. m in [0, 2^31) with at most 24 significant bits, shift in [-31, 30].
 * Saturates at 2^30. */
static inline int32_t wh_rescale_float(int32_t acc, int32_t m, int32_t shift)
{
    uint64_t magnitude = acc < 0 ? 0u - (uint64_t)(int64_t)acc : (uint64_t)acc;
    int32_t dropped = wh_bits_beyond_float(magnitude);
    int32_t exponent = shift - 31 + 7 + dropped;
    uint64_t product = wh_divide_to_even(magnitude, dropped) * (uint64_t)(m >> 7);
    dropped = wh_bits_beyond_float(product);
    exponent += dropped;
    product = wh_divide_to_even(product, dropped);
    if (exponent >= 0) {
        product = exponent > 30 && product != 0 ? (uint64_t)1 << 30 : product << exponent;
    } else {
        product = exponent < -63 ? 0 : wh_divide_to_even(product, -exponent);
    }
    int32_t bounded = product > (uint64_t)1 << 30 ? 1 << 30 : (int32_t)product;
    return acc < 0 ? -bounded : bounded;
}

/* Accumulators wrap at 32 bits, whatever the bias is. */
static inline int32_t wh_wrapping_add(int32_t a, int32_t b)
{
    return (int32_t)((uint32_t)a + (uint32_t)b);
}

#endif
