/* Rounding rule D on four accumulators at once: as rescale.h, byte for byte.
 *
 * vqrdmulh is wh_multiply_high: it would differ for two operands of INT32_MIN only, and multipliers
 * are not negative. vrshl rounds ties up and rule D away from zero, so a negative value that is
 * shifted gets -1 first; that sum saturates where rule D has a wider one, with the same result. */

#ifndef WHERRY_KERNELS_ARM_FINISH_H
#define WHERRY_KERNELS_ARM_FINISH_H

#include <arm_neon.h>

/* What turns four channels' sums into outputs. */
typedef struct {
    int32x4_t bias, m, s;
} wh_lanes;

/* Of the whole layer. */
typedef struct {
    int32x4_t zero_y, act_min, act_max;
} wh_bounds;

static inline wh_lanes wh_lanes_at(const int32_t *bias, const int32_t *m, const int32_t *s)
{
    return (wh_lanes){vld1q_s32(bias), vld1q_s32(m), vld1q_s32(s)};
}

static inline int32x4_t wh_rescale_lanes(int32x4_t acc, int32x4_t m, int32x4_t s)
{
    const int32x4_t none = vdupq_n_s32(0);
    int32x4_t right = vminq_s32(s, none);
    int32x4_t v = vqrdmulhq_s32(vshlq_s32(acc, vmaxq_s32(s, none)), m);
    int32x4_t away_from_zero = vshrq_n_s32(vandq_s32(v, right), 31);
    return vrshlq_s32(vqaddq_s32(v, away_from_zero), right);
}

/* Outputs in 32 bits, within act_min and act_max. */
static inline int32x4_t wh_finish_lanes(const wh_bounds *y, const wh_lanes *lanes, int32x4_t sums)
{
    int32x4_t v = wh_rescale_lanes(vaddq_s32(sums, lanes->bias), lanes->m, lanes->s);
    return vminq_s32(vmaxq_s32(vqaddq_s32(v, y->zero_y), y->act_min), y->act_max);
}

#endif
