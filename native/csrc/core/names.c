/* Names of statuses and operators, for people. */

#include "wherry/engine.h"

#define NAMED(status) \
    case status:      \
        return #status

const char *wh_error_name(int status)
{
    switch (status) {
        NAMED(WH_OK);
        NAMED(WH_ERR_ARGUMENT);
        NAMED(WH_ERR_ARENA);
        NAMED(WH_ERR_INPUT_SIZE);
        NAMED(WH_ERR_OUTPUT_SIZE);
        NAMED(WH_ERR_BYTE_ORDER);
        NAMED(WH_ERR_PREPARED);
        NAMED(WH_ERR_KERNELS);
        NAMED(WH_ERR_TRUNCATED);
        NAMED(WH_ERR_MAGIC);
        NAMED(WH_ERR_FORMAT_VERSION);
        NAMED(WH_ERR_ENGINE_ABI);
        NAMED(WH_ERR_HEADER);
        NAMED(WH_ERR_PIECE);
        NAMED(WH_ERR_NAME);
        NAMED(WH_ERR_TENSOR);
        NAMED(WH_ERR_OPERATOR);
        NAMED(WH_ERR_ROUNDING);
        NAMED(WH_ERR_LINK);
        NAMED(WH_ERR_SHAPE);
        NAMED(WH_ERR_PARAM);
        NAMED(WH_ERR_ORDER);
        NAMED(WH_ERR_OVERLAP);
        NAMED(WH_ERR_NO_MODEL);
        NAMED(WH_ERR_QUEUE_FULL);
        NAMED(WH_ERR_TIMEOUT);
        NAMED(WH_ERR_STOPPED);
        NAMED(WH_ERR_MEMORY);
        NAMED(WH_ERR_THREAD);
        NAMED(WH_ERR_EMPTY);
        NAMED(WH_ERR_BUSY);
        default:
            return "WH_ERR_UNKNOWN";
    }
}

static const char *const op_names[WH_OP_COUNT] = {
    [0] = "UNKNOWN",
    [WH_FULLY_CONNECTED] = "FULLY_CONNECTED",
    [WH_CONV_2D] = "CONV_2D",
    [WH_DEPTHWISE_CONV_2D] = "DEPTHWISE_CONV_2D",
    [WH_AVERAGE_POOL_2D] = "AVERAGE_POOL_2D",
    [WH_MAX_POOL_2D] = "MAX_POOL_2D",
    [WH_MEAN] = "MEAN",
    [WH_ADD] = "ADD",
    [WH_SUB] = "SUB",
    [WH_MUL] = "MUL",
    [WH_CONCATENATION] = "CONCATENATION",
    [WH_PAD] = "PAD",
    [WH_RESHAPE] = "RESHAPE",
    [WH_SOFTMAX] = "SOFTMAX",
    [WH_LOGISTIC] = "LOGISTIC",
    [WH_TANH] = "TANH",
    [WH_RELU] = "RELU",
    [WH_RELU6] = "RELU6",
    [WH_QUANTIZE] = "QUANTIZE",
    [WH_LOOKUP] = "LOOKUP",
    [WH_DIV] = "DIV",
    [WH_LEAKY_RELU] = "LEAKY_RELU",
    [WH_PRELU] = "PRELU",
    [WH_TRANSPOSE_CONV] = "TRANSPOSE_CONV",
    [WH_TRANSPOSE] = "TRANSPOSE",
    [WH_STRIDED_SLICE] = "STRIDED_SLICE",
    [WH_GATHER] = "GATHER",
    [WH_RESIZE_NEAREST] = "RESIZE_NEAREST",
    [WH_ARG_MAX] = "ARG_MAX",
};

const char *wh_op_name(uint32_t op)
{
    return op < WH_OP_COUNT ? op_names[op] : "UNKNOWN";
}
