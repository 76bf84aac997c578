/* The kernel table of any machine. */

#include "kernels.h"

static const wh_kernels portable = {{
    [WH_FULLY_CONNECTED] = wh_fully_connected,
    [WH_CONV_2D] = wh_conv_2d,
    [WH_DEPTHWISE_CONV_2D] = wh_depthwise_conv_2d,
    [WH_AVERAGE_POOL_2D] = wh_average_pool_2d,
    [WH_MAX_POOL_2D] = wh_max_pool_2d,
    [WH_MEAN] = wh_mean,
    [WH_ADD] = wh_add,
    [WH_SUB] = wh_sub,
    [WH_MUL] = wh_mul,
    [WH_CONCATENATION] = wh_concatenation,
    [WH_PAD] = wh_pad,
    [WH_RESHAPE] = wh_reshape,
    [WH_SOFTMAX] = wh_softmax,
    [WH_LOGISTIC] = wh_lookup,
    [WH_TANH] = wh_lookup,
    [WH_RELU] = wh_requantize,
    [WH_RELU6] = wh_requantize,
    [WH_QUANTIZE] = wh_requantize,
}};

const wh_kernels *wh_portable_kernels(void)
{
    return &portable;
}
