/* The kernel table of any machine. */

#include "kernels.h"

#define BY_WIDTH(name, narrow, wide)                                                            \
    static void name(const wh_call *call)                                                       \
    {                                                                                           \
        (wh_result(call)->dtype == WH_INT16 ? wide : narrow)(call);                             \
    }

BY_WIDTH(fully_connected, wh_fully_connected, wh_fully_connected_16)
BY_WIDTH(conv_2d, wh_conv_2d, wh_conv_2d_16)
BY_WIDTH(depthwise_conv_2d, wh_depthwise_conv_2d, wh_depthwise_conv_2d_16)
BY_WIDTH(softmax, wh_softmax, wh_softmax_16)
BY_WIDTH(logistic, wh_lookup, wh_logistic_16)
BY_WIDTH(hyperbolic_tangent, wh_lookup, wh_tanh_16)
BY_WIDTH(lookup, wh_lookup, wh_lookup_16)

static const wh_kernels portable = {"portable", {
    [WH_FULLY_CONNECTED] = {.run = fully_connected},
    [WH_CONV_2D] = {.run = conv_2d},
    [WH_DEPTHWISE_CONV_2D] = {.run = depthwise_conv_2d},
    [WH_AVERAGE_POOL_2D] = {.run = wh_average_pool_2d},
    [WH_MAX_POOL_2D] = {.run = wh_max_pool_2d},
    [WH_MEAN] = {.run = wh_mean},
    [WH_ADD] = {.run = wh_add},
    [WH_SUB] = {.run = wh_sub},
    [WH_MUL] = {.run = wh_mul},
    [WH_CONCATENATION] = {.run = wh_concatenation},
    [WH_PAD] = {.run = wh_pad},
    [WH_RESHAPE] = {.run = wh_reshape},
    [WH_SOFTMAX] = {.run = softmax},
    [WH_LOGISTIC] = {.run = logistic},
    [WH_TANH] = {.run = hyperbolic_tangent},
    [WH_RELU] = {.run = wh_requantize},
    [WH_RELU6] = {.run = wh_requantize},
    [WH_QUANTIZE] = {.run = wh_requantize},
    [WH_LOOKUP] = {.run = lookup},
    [WH_DIV] = {.run = wh_div},
    [WH_LEAKY_RELU] = {.run = wh_leaky_relu},
    [WH_PRELU] = {.run = wh_prelu},
    [WH_TRANSPOSE_CONV] = {.run = wh_transpose_conv},
    [WH_TRANSPOSE] = {.run = wh_transpose},
    [WH_STRIDED_SLICE] = {.run = wh_strided_slice},
    [WH_GATHER] = {.run = wh_gather},
    [WH_RESIZE_NEAREST] = {.run = wh_resize_nearest},
    [WH_ARG_MAX] = {.run = wh_arg_max},
}};

const wh_kernels *wh_portable_kernels(void)
{
    return &portable;
}
