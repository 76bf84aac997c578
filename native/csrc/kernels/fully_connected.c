/* FULLY_CONNECTED: y[b, o] = rescale(bias[o] + sum_i (x[b, i] - zero_x) w[o, i]) + zero_y. */

#include "../core/layout.h"
#include "dot.h"
#include "kernels.h"
#include "rescale.h"

void wh_fully_connected(const wh_call *call)
{
    const wh_tensor *x = wh_operand(call, WH_X);
    const wh_tensor *weights = wh_operand(call, WH_WEIGHTS);
    const int8_t *w = wh_operand_int8(call, WH_WEIGHTS);
    const int32_t *bias = wh_operand_int32(call, WH_BIAS);
    const int32_t *m = wh_operand_int32(call, WH_MULTIPLIER);
    const int32_t *s = wh_operand_int32(call, WH_SHIFT);
    const int8_t *row = wh_operand_int8(call, WH_X);
    int8_t *y = wh_result_int8(call);
    const int32_t *params = call->node->params;
    int32_t zero_y = wh_result(call)->zero_point;
    int32_t outputs = wh_dim(weights, 0);
    int32_t inputs = wh_dim(weights, 1);
    const int8_t *end = row + x->size;
    for (; row < end; row += inputs, y += outputs) {
        for (int32_t o = 0; o < outputs; o++) {
            int32_t sum = wh_dot(row, w + (intptr_t)o * inputs, inputs, x->zero_point);
            int32_t acc = wh_rescale(wh_wrapping_add(sum, bias[o]), m[o], s[o]);
            y[o] = wh_to_int8(acc, zero_y, params[WH_FC_ACT_MIN], params[WH_FC_ACT_MAX]);
        }
    }
}
