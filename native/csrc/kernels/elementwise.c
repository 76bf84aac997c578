/* ADD, SUB and MUL with numpy's broadcasting; LOGISTIC and TANH by table; RELU, RELU6, QUANTIZE. */

#include "../core/layout.h"
#include "kernels.h"
#include "rescale.h"
#include "shape.h"

/* One row of outputs; a stride is 1 or 0. */
typedef struct {
    const int8_t *a, *b;
    intptr_t stride_a, stride_b;
    int8_t *y;
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

static int8_t finish_sum(const binary *op, int32_t sum)
{
    const int32_t *p = op->params;
    int32_t value = wh_rescale(sum, p[WH_SUM_MULTIPLIER], p[WH_SUM_SHIFT]);
    return wh_to_int8(value, op->zero_y, p[WH_SUM_ACT_MIN], p[WH_SUM_ACT_MAX]);
}

static void add_row(const binary *op, row r)
{
    for (int32_t i = 0; i < r.count; i++) {
        int32_t a = scaled(op, r.a[i * r.stride_a] - op->zero_a, WH_SUM_MULTIPLIER_A,
                           WH_SUM_SHIFT_A);
        int32_t b = scaled(op, r.b[i * r.stride_b] - op->zero_b, WH_SUM_MULTIPLIER_B,
                           WH_SUM_SHIFT_B);
        r.y[i] = finish_sum(op, a + b);
    }
}

static void sub_row(const binary *op, row r)
{
    for (int32_t i = 0; i < r.count; i++) {
        int32_t a = scaled(op, r.a[i * r.stride_a] - op->zero_a, WH_SUM_MULTIPLIER_A,
                           WH_SUM_SHIFT_A);
        int32_t b = scaled(op, r.b[i * r.stride_b] - op->zero_b, WH_SUM_MULTIPLIER_B,
                           WH_SUM_SHIFT_B);
        r.y[i] = finish_sum(op, a - b);
    }
}

static void mul_row(const binary *op, row r)
{
    const int32_t *p = op->params;
    for (int32_t i = 0; i < r.count; i++) {
        int32_t product = (r.a[i * r.stride_a] - op->zero_a) * (r.b[i * r.stride_b] - op->zero_b);
        int32_t value = wh_rescale(product, p[WH_RESCALE_MULTIPLIER], p[WH_RESCALE_SHIFT]);
        r.y[i] = wh_to_int8(value, op->zero_y, p[WH_RESCALE_ACT_MIN], p[WH_RESCALE_ACT_MAX]);
    }
}

static void broadcast(const wh_call *call, row_kernel kernel)
{
    const wh_tensor *a = wh_operand(call, 0);
    const wh_tensor *b = wh_operand(call, 1);
    const wh_tensor *y = wh_result(call);
    binary op = {call->node->params, a->zero_point, b->zero_point, y->zero_point};
    wh_shape shape_a = wh_broadcast_shape_of(a);
    wh_shape shape_b = wh_broadcast_shape_of(b);
    wh_shape shape_y = wh_shape_of(y);
    const uint32_t outer = WH_RANK_MAX - 1;
    int32_t position[WH_RANK_MAX] = {0};
    do {
        kernel(&op, (row){
            .a = wh_operand_int8(call, 0) + wh_offset(&shape_a, outer, position),
            .b = wh_operand_int8(call, 1) + wh_offset(&shape_b, outer, position),
            .stride_a = shape_a.strides[outer],
            .stride_b = shape_b.strides[outer],
            .y = wh_result_int8(call) + wh_offset(&shape_y, outer, position),
            .count = shape_y.dims[outer],
        });
    } while (wh_next(shape_y.dims, outer, position));
}

void wh_add(const wh_call *call)
{
    broadcast(call, add_row);
}

void wh_sub(const wh_call *call)
{
    broadcast(call, sub_row);
}

void wh_mul(const wh_call *call)
{
    broadcast(call, mul_row);
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

void wh_requantize(const wh_call *call)
{
    const int8_t *x = wh_operand_int8(call, 0);
    int8_t *y = wh_result_int8(call);
    const int32_t *p = call->node->params;
    int32_t zero_x = wh_operand(call, 0)->zero_point;
    int32_t zero_y = wh_result(call)->zero_point;
    uint32_t count = wh_result(call)->size;
    for (uint32_t i = 0; i < count; i++) {
        int32_t value = wh_rescale(x[i] - zero_x, p[WH_RESCALE_MULTIPLIER], p[WH_RESCALE_SHIFT]);
        y[i] = wh_to_int8(value, zero_y, p[WH_RESCALE_ACT_MIN], p[WH_RESCALE_ACT_MAX]);
    }
}
