/* The kernel table of x86-64 with AVX2. */

#include "kernels_avx2.h"
#include "tables.h"

#if defined(__x86_64__)

static const wh_kernel convolution = {
    wh_conv_2d_avx2, wh_conv_2d_needs_avx2, wh_conv_2d_prepare_avx2, NULL,
};
static const wh_kernel dense_words = {
    wh_dense_words_avx2, wh_dense_words_needs_avx2, wh_dense_words_prepare_avx2, &convolution,
};
static const wh_kernel depthwise = {
    wh_depthwise_conv_2d_avx2, wh_depthwise_conv_2d_needs_avx2,
    wh_depthwise_conv_2d_prepare_avx2, NULL,
};

static const wh_kernels avx2 = {"avx2", {
    [WH_FULLY_CONNECTED] = {wh_dense_bytes_avx2, wh_dense_bytes_needs_avx2,
                            wh_dense_bytes_prepare_avx2, &dense_words},
    [WH_CONV_2D] = {wh_conv_3x3_avx2, wh_conv_3x3_needs_avx2, wh_conv_3x3_prepare_avx2,
                    &convolution},
    [WH_DEPTHWISE_CONV_2D] = {wh_depthwise_3x3_avx2, wh_depthwise_3x3_needs_avx2,
                              wh_depthwise_3x3_prepare_avx2, &depthwise},
    [WH_ADD] = {wh_sum_avx2, wh_sum_needs_avx2, wh_sum_prepare_avx2, NULL},
    [WH_SUB] = {wh_sum_avx2, wh_sum_needs_avx2, wh_sum_prepare_avx2, NULL},
    [WH_AVERAGE_POOL_2D] = {.run = wh_average_pool_2d_avx2},
    [WH_MAX_POOL_2D] = {.run = wh_max_pool_2d_avx2},
}};

const wh_kernels *wh_avx2_kernels(void)
{
    return &avx2;
}

#endif
