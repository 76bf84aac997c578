/* FULLY_CONNECTED: y[b, o] = rescale(bias[o] + sum_i (x[b, i] - zero_x) w[o, i]) + zero_y. */

#include "../core/layout.h"
#include "dot.h"
#include "kernels.h"

void wh_fully_connected(const wh_call *call)
{
    const wh_tensor *x = wh_operand(call, WH_X);
    const wh_tensor *weights = wh_operand(call, WH_WEIGHTS);
    wh_channels channels = {
        .bias = wh_operand_int32(call, WH_BIAS),
        .m = wh_operand_int32(call, WH_MULTIPLIER),
        .s = wh_operand_int32(call, WH_SHIFT),
        .zero_y = wh_result(call)->zero_point,
        .act_min = call->node->params[WH_FC_ACT_MIN],
        .act_max = call->node->params[WH_FC_ACT_MAX],
        .is_float = call->node->rounding == WH_ROUNDING_F,
    };
    const int8_t *w = wh_operand_int8(call, WH_WEIGHTS);
    const int8_t *row = wh_operand_int8(call, WH_X);
    int8_t *y = wh_result_int8(call);
    int32_t outputs = wh_dim(weights, 0);
    int32_t inputs = wh_dim(weights, 1);
    const int8_t *end = row + x->size;
    for (; row < end; row += inputs, y += outputs) {
        wh_dense(&channels, row, w, inputs, outputs, x->zero_point, y);
    }
}
