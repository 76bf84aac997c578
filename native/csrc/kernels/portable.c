/* The kernel table of any machine. */

#include "kernels.h"

static const wh_kernels portable = {"portable", {
    [WH_FULLY_CONNECTED] = {.run = wh_fully_connected},
    [WH_CONV_2D] = {.run = wh_conv_2d},
    [WH_DEPTHWISE_CONV_2D] = {.run = wh_depthwise_conv_2d},
    [WH_AVERAGE_POOL_2D] = {.run = wh_average_pool_2d},
    [WH_MAX_POOL_2D] = {.run = wh_max_pool_2d},
    [WH_MEAN] = {.run = wh_mean},
    [WH_ADD] = {.run = wh_add},
    [WH_SUB] = {.run = wh_sub},
    [WH_MUL] = {.run = wh_mul},
    [WH_CONCATENATION] = {.run = wh_concatenation},
    [WH_PAD] = {.run = wh_pad},
    [WH_RESHAPE] = {.run = wh_reshape},
    [WH_SOFTMAX] = {.run = wh_softmax},
    [WH_LOGISTIC] = {.run = wh_lookup},
    [WH_TANH] = {.run = wh_lookup},
    [WH_RELU] = {.run = wh_requantize},
    [WH_RELU6] = {.run = wh_requantize},
    [WH_QUANTIZE] = {.run = wh_requantize},
}};

const wh_kernels *wh_portable_kernels(void)
{
    return &portable;
}
