/* SOFTMAX over the last axis in gemmlowp's fixed point, bit for bit as TFLite Micro computes it.
 *
 * Qi.f: i integer bits, f fraction bits. Differences to the row's maximum are Q5.26, exponentials
 * Q0.31, their sum Q12.19. Source: gemmlowp fixedpoint.h, TFLite reference/softmax.h. */

#include "../core/layout.h"
#include "kernels.h"
#include "reciprocal.h"
#include "rescale.h"

/* exp(a) for a in [-1/4, 0), Q0.31: a Taylor series around -1/8. */
static int32_t exp_in_last_quarter(int32_t a)
{
    const int32_t exp_of_minus_eighth = 1895147668;
    const int32_t third = 715827883;
    int32_t x = a + (1 << 28);
    int32_t x2 = wh_multiply_high(x, x);
    int32_t x3 = wh_multiply_high(x2, x);
    int32_t x4 = wh_multiply_high(x2, x2);
    int32_t x4_over_4 = wh_divide_by_power(x4, 2);
    int32_t tail = wh_divide_by_power(wh_multiply_high(x4_over_4 + x3, third) + x2, 1);
    return exp_of_minus_eighth + wh_multiply_high(exp_of_minus_eighth, x + tail);
}

/* exp(a) for a in [-31, 0], Q5.26 to Q0.31. */
static int32_t exp_of_negative(int32_t a)
{
    /* exp(-2^k) for k = -2 … 4, Q0.31. */
    static const int32_t factors[7] = {1672461947, 1302514674, 790015084, 290630308,
                                       39332535,   720401,     242};
    const int32_t quarter = 1 << 24;
    if (a == 0) {
        return WH_ONE_Q0;
    }
    int32_t in_quarter = (a & (quarter - 1)) - quarter;
    int32_t result = exp_in_last_quarter(wh_saturating_shift_left(in_quarter, 5));
    int32_t remainder = in_quarter - a;
    for (int32_t k = 0; k < 7; k++) {
        if ((remainder & (quarter << k)) != 0) {
            result = wh_multiply_high(result, factors[k]);
        }
    }
    return result;
}

static int8_t row_maximum(const int8_t *x, int32_t depth)
{
    int8_t best = INT8_MIN;
    for (int32_t i = 0; i < depth; i++) {
        best = x[i] > best ? x[i] : best;
    }
    return best;
}

static int32_t exp_of_difference(int32_t difference, const int32_t *params)
{
    int32_t shifted = wh_shift_left(difference, params[WH_SOFTMAX_LEFT_SHIFT]);
    return exp_of_negative(wh_multiply_high(shifted, params[WH_SOFTMAX_MULTIPLIER]));
}

static void softmax_row(const int8_t *x, int8_t *y, int32_t depth, const int32_t *params)
{
    int32_t largest = row_maximum(x, depth);
    int32_t sum = 0;
    for (int32_t i = 0; i < depth; i++) {
        if (x[i] - largest >= params[WH_SOFTMAX_DIFF_MIN]) {
            sum += wh_divide_by_power(exp_of_difference(x[i] - largest, params), 12);
        }
    }
    int32_t headroom = wh_leading_zeros((uint32_t)sum);
    int32_t fraction = (int32_t)(((uint32_t)sum << headroom) - 0x80000000u);
    int32_t scale = wh_reciprocal_of_one_plus(fraction);
    int32_t exponent = 12 - headroom + 31 - 8;
    for (int32_t i = 0; i < depth; i++) {
        int32_t level = 0;
        if (x[i] - largest >= params[WH_SOFTMAX_DIFF_MIN]) {
            int32_t product = wh_multiply_high(scale, exp_of_difference(x[i] - largest, params));
            level = wh_divide_by_power(product, exponent);
        }
        y[i] = (int8_t)wh_clamp(level + INT8_MIN, INT8_MIN, INT8_MAX);
    }
}

void wh_softmax(const wh_call *call)
{
    const wh_tensor *tensor = wh_operand(call, 0);
    const int8_t *x = wh_operand_int8(call, 0);
    int8_t *y = wh_result_int8(call);
    int32_t depth = wh_dim(tensor, (uint32_t)tensor->rank - 1);
    for (const int8_t *end = x + tensor->size; x < end; x += depth, y += depth) {
        softmax_row(x, y, depth, call->node->params);
    }
}
