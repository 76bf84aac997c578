/* Indices of the parameters in wh_node.params, by operator, in the order of the format. */

#ifndef WHERRY_CORE_LAYOUT_H
#define WHERRY_CORE_LAYOUT_H

/* Operands of FULLY_CONNECTED, CONV_2D and DEPTHWISE_CONV_2D. */
enum { WH_X = 0, WH_WEIGHTS = 1, WH_BIAS = 2, WH_MULTIPLIER = 3, WH_SHIFT = 4 };

enum { WH_FC_ACT_MIN = 0, WH_FC_ACT_MAX = 1 };

enum {
    WH_CONV_STRIDE_H = 0,
    WH_CONV_STRIDE_W = 1,
    WH_CONV_DILATION_H = 2,
    WH_CONV_DILATION_W = 3,
    WH_CONV_PAD_TOP = 4,
    WH_CONV_PAD_LEFT = 5,
    WH_CONV_ACT_MIN = 6,
    WH_CONV_ACT_MAX = 7
};

enum {
    WH_POOL_FILTER_H = 0,
    WH_POOL_FILTER_W = 1,
    WH_POOL_STRIDE_H = 2,
    WH_POOL_STRIDE_W = 3,
    WH_POOL_PAD_TOP = 4,
    WH_POOL_PAD_LEFT = 5,
    WH_POOL_ACT_MIN = 6,
    WH_POOL_ACT_MAX = 7
};

enum { WH_MEAN_AXIS_MASK = 0, WH_MEAN_MULTIPLIER = 1, WH_MEAN_SHIFT = 2 };

enum {
    WH_SUM_LEFT_SHIFT = 0,
    WH_SUM_MULTIPLIER_A = 1,
    WH_SUM_SHIFT_A = 2,
    WH_SUM_MULTIPLIER_B = 3,
    WH_SUM_SHIFT_B = 4,
    WH_SUM_MULTIPLIER = 5,
    WH_SUM_SHIFT = 6,
    WH_SUM_ACT_MIN = 7,
    WH_SUM_ACT_MAX = 8
};

/* MUL, RELU, RELU6, QUANTIZE. */
enum {
    WH_RESCALE_MULTIPLIER = 0,
    WH_RESCALE_SHIFT = 1,
    WH_RESCALE_ACT_MIN = 2,
    WH_RESCALE_ACT_MAX = 3
};

/* LOGISTIC and TANH of 16 bits; 0 for 8 bits, where the table says all. */
enum { WH_SIGMOID_MULTIPLIER = 0, WH_SIGMOID_SHIFT = 1 };

enum { WH_CONCATENATION_AXIS = 0 };

enum { WH_PAD_BEFORE = 0, WH_PAD_VALUE = 5 };

enum { WH_SOFTMAX_MULTIPLIER = 0, WH_SOFTMAX_LEFT_SHIFT = 1, WH_SOFTMAX_DIFF_MIN = 2 };

/* LEAKY_RELU and PRELU: of values above 0, and below. */
enum {
    WH_SLOPE_MULTIPLIER = 0,
    WH_SLOPE_SHIFT = 1,
    WH_SLOPE_MULTIPLIER_ALPHA = 2,
    WH_SLOPE_SHIFT_ALPHA = 3
};

/* TRANSPOSE_CONV. */
enum {
    WH_SCATTER_STRIDE_H = 0,
    WH_SCATTER_STRIDE_W = 1,
    WH_SCATTER_PAD_TOP = 2,
    WH_SCATTER_PAD_LEFT = 3,
    WH_SCATTER_ACT_MIN = 4,
    WH_SCATTER_ACT_MAX = 5
};

enum { WH_TRANSPOSE_FROM = 0 };

/* Per axis; 0 beyond the rank. */
enum { WH_SLICE_BEGIN = 0, WH_SLICE_EXTENT = 5, WH_SLICE_STEP = 10 };

enum { WH_GATHER_AXIS = 0 };

enum { WH_ARG_MAX_AXIS = 0 };

#endif
