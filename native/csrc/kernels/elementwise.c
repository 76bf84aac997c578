/* ADD, SUB, MUL, DIV and PRELU with numpy's broadcasting; LOOKUP of 8 bits; RELU, RELU6, QUANTIZE
 * and LEAKY_RELU. */

#include "../core/layout.h"
#include "kernels.h"
#include "reciprocal.h"
#include "rescale.h"
#include "shape.h"

/* One row of outputs; a stride is 1 or 0, in elements. */
typedef struct {
    const void *a, *b;
    intptr_t stride_a, stride_b;
    void *y;
    int32_t count;
} row;

typedef struct {
    const int32_t *params;
    int32_t zero_a, zero_b, zero_y;
} binary;

typedef void (*row_kernel)(const binary *op, row r);

static int32_t scaled(const binary *op, int32_t centred, uint32_t multiplier, uint32_t shift)
{
    int32_t shifted = wh_shift_left(centred, op->params[WH_SUM_LEFT_SHIFT]);
    return wh_rescale(shifted, op->params[multiplier], op->params[shift]);
}

/* The operands at one place, at their common scale. */
static int32_t scaled_a(const binary *op, int32_t a)
{
    return scaled(op, a - op->zero_a, WH_SUM_MULTIPLIER_A, WH_SUM_SHIFT_A);
}

static int32_t scaled_b(const binary *op, int32_t b)
{
    return scaled(op, b - op->zero_b, WH_SUM_MULTIPLIER_B, WH_SUM_SHIFT_B);
}

static int32_t finish_sum(const binary *op, int32_t sum)
{
    return wh_rescale(sum, op->params[WH_SUM_MULTIPLIER], op->params[WH_SUM_SHIFT]);
}

static int32_t product(const binary *op, int32_t a, int32_t b)
{
    const int32_t *p = op->params;
    return wh_rescale((a - op->zero_a) * (b - op->zero_b), p[WH_RESCALE_MULTIPLIER],
                      p[WH_RESCALE_SHIFT]);
}

static int32_t sign_bits(int32_t v)
{
    return wh_leading_zeros((uint32_t)(v < 0 ? ~v : v)) - 1;
}

/* a / b rescaled. TFLite leaves b = 0 open: here it is as far from 0 as a result can be, with the
 * sign of a, or 0. */
static int32_t quotient(const binary *op, int32_t a, int32_t b)
{
    const int32_t far = 1 << 24;
    int32_t sign = b - op->zero_b < 0 ? -1 : 1;
    int32_t dividend = sign * (a - op->zero_a);
    uint32_t divisor = (uint32_t)(sign * (b - op->zero_b));
    if (divisor == 0 || dividend == 0) {
        return dividend > 0 ? far : dividend < 0 ? -far : 0;
    }
    int32_t zeros = wh_leading_zeros(divisor);
    int32_t inverse = wh_reciprocal_of_one_plus((int32_t)((divisor << zeros) - 0x80000000u));
    int32_t headroom = sign_bits(dividend);
    int32_t unscaled = wh_multiply_high(wh_shift_left(dividend, headroom), inverse);
    int32_t value = wh_multiply_high(unscaled, op->params[WH_RESCALE_MULTIPLIER]);
    int32_t right = 31 - zeros + headroom - op->params[WH_RESCALE_SHIFT];
    if (right < 0) {
        int64_t wide = (int64_t)value * ((int64_t)1 << -right);
        return wide > far ? far : wide < -far ? -far : (int32_t)wide;
    }
    return wh_divide_by_power(value, right < 62 ? right : 62);
}

static int32_t sloped(const int32_t *p, int32_t x, int32_t alpha)
{
    return x >= 0 ? wh_rescale(x, p[WH_SLOPE_MULTIPLIER], p[WH_SLOPE_SHIFT])
                  : wh_rescale(x * alpha, p[WH_SLOPE_MULTIPLIER_ALPHA], p[WH_SLOPE_SHIFT_ALPHA]);
}

#define ELEMENT int8_t
#define ELEMENT_MIN INT8_MIN
#define ELEMENT_MAX INT8_MAX
#define OF_WIDTH(name) name##_8
#define TO_ELEMENT wh_to_int8
#include "elementwise_rows.h"
#undef ELEMENT
#undef ELEMENT_MIN
#undef ELEMENT_MAX
#undef OF_WIDTH
#undef TO_ELEMENT

#define ELEMENT int16_t
#define ELEMENT_MIN INT16_MIN
#define ELEMENT_MAX INT16_MAX
#define OF_WIDTH(name) name##_16
#define TO_ELEMENT wh_to_int16
#include "elementwise_rows.h"
#undef ELEMENT
#undef ELEMENT_MIN
#undef ELEMENT_MAX
#undef OF_WIDTH
#undef TO_ELEMENT

static void broadcast(const wh_call *call, row_kernel kernel)
{
    const wh_tensor *a = wh_operand(call, 0);
    const wh_tensor *b = wh_operand(call, 1);
    const wh_tensor *y = wh_result(call);
    binary op = {call->node->params, a->zero_point, b->zero_point, y->zero_point};
    wh_shape shape_a = wh_broadcast_shape_of(a);
    wh_shape shape_b = wh_broadcast_shape_of(b);
    wh_shape shape_y = wh_shape_of(y);
    const intptr_t width = wh_element_bytes(y);
    const intptr_t width_b = wh_element_bytes(b);
    const uint32_t outer = WH_RANK_MAX - 1;
    int32_t position[WH_RANK_MAX] = {0};
    do {
        kernel(&op, (row){
            .a = wh_operand_int8(call, 0) + wh_offset(&shape_a, outer, position) * width,
            .b = wh_operand_int8(call, 1) + wh_offset(&shape_b, outer, position) * width_b,
            .stride_a = shape_a.strides[outer],
            .stride_b = shape_b.strides[outer],
            .y = wh_result_int8(call) + wh_offset(&shape_y, outer, position) * width,
            .count = shape_y.dims[outer],
        });
    } while (wh_next(shape_y.dims, outer, position));
}

static void by_width(const wh_call *call, row_kernel narrow, row_kernel wide)
{
    broadcast(call, wh_result(call)->dtype == WH_INT16 ? wide : narrow);
}

void wh_add(const wh_call *call)
{
    by_width(call, add_row_8, add_row_16);
}

void wh_sub(const wh_call *call)
{
    by_width(call, sub_row_8, sub_row_16);
}

void wh_mul(const wh_call *call)
{
    by_width(call, mul_row_8, mul_row_16);
}

void wh_div(const wh_call *call)
{
    by_width(call, div_row_8, div_row_16);
}

void wh_prelu(const wh_call *call)
{
    by_width(call, prelu_row_8, prelu_row_16);
}

void wh_leaky_relu(const wh_call *call)
{
    const wh_tensor *out = wh_result(call);
    const void *x = wh_bytes(call, wh_operand(call, 0));
    const int is_wide = out->dtype == WH_INT16;
    const int32_t zero_x = wh_operand(call, 0)->zero_point;
    const int32_t low = is_wide ? INT16_MIN : INT8_MIN;
    const int32_t high = is_wide ? INT16_MAX : INT8_MAX;
    intptr_t count = (intptr_t)out->size / wh_element_bytes(out);
    for (intptr_t i = 0; i < count; i++) {
        int32_t value = sloped(call->node->params, wh_element(x, is_wide, i) - zero_x, 1);
        wh_store(wh_result_int8(call), is_wide, i,
                 wh_to_int16(value, out->zero_point, low, high));
    }
}

void wh_lookup(const wh_call *call)
{
    const int8_t *x = wh_operand_int8(call, 0);
    const int8_t *table = wh_operand_int8(call, 1);
    int8_t *y = wh_result_int8(call);
    uint32_t count = wh_result(call)->size;
    for (uint32_t i = 0; i < count; i++) {
        y[i] = table[x[i] + 128];
    }
}

typedef struct {
    const int32_t *params;
    int32_t zero_x, zero_y;
} requantization;

static int32_t requantized(const requantization *r, int32_t x)
{
    return wh_rescale(x - r->zero_x, r->params[WH_RESCALE_MULTIPLIER], r->params[WH_RESCALE_SHIFT]);
}

#define REQUANTIZE(from, to, to_element)                                                       \
    do {                                                                                       \
        const from *x = wh_bytes(call, wh_operand(call, 0));                                   \
        to *y = (void *)wh_result_int8(call);                                                  \
        for (uint32_t i = 0; i < count; i++) {                                                 \
            y[i] = to_element(requantized(&r, x[i]), r.zero_y, p[WH_RESCALE_ACT_MIN],          \
                              p[WH_RESCALE_ACT_MAX]);                                          \
        }                                                                                      \
    } while (0)

void wh_requantize(const wh_call *call)
{
    const int32_t *p = call->node->params;
    const wh_tensor *out = wh_result(call);
    requantization r = {p, wh_operand(call, 0)->zero_point, out->zero_point};
    uint32_t count = out->size / (uint32_t)wh_element_bytes(out);
    int is_from_wide = wh_operand(call, 0)->dtype == WH_INT16;
    int is_to_wide = out->dtype == WH_INT16;
    if (is_from_wide && is_to_wide) {
        REQUANTIZE(int16_t, int16_t, wh_to_int16);
    } else if (is_from_wide) {
        REQUANTIZE(int16_t, int8_t, wh_to_int8);
    } else if (is_to_wide) {
        REQUANTIZE(int8_t, int16_t, wh_to_int16);
    } else {
        REQUANTIZE(int8_t, int8_t, wh_to_int8);
    }
}
