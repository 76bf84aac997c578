/* The kernel table of x86-64 with AVX-512 VNNI: products of matrices by its own kernels, the
 * rest as with AVX2. */

#include "kernels_avx2.h"
#include "kernels_vnni.h"
#include "tables.h"

#if defined(__x86_64__)

static const wh_kernel depthwise = {
    wh_depthwise_conv_2d_avx2, wh_depthwise_conv_2d_needs_avx2,
    wh_depthwise_conv_2d_prepare_avx2, NULL,
};

static const wh_kernels avx512vnni = {"avx512vnni", {
    [WH_FULLY_CONNECTED] = {wh_conv_2d_vnni, wh_conv_2d_needs_vnni, wh_conv_2d_prepare_vnni,
                            NULL},
    [WH_CONV_2D] = {wh_conv_2d_vnni, wh_conv_2d_needs_vnni, wh_conv_2d_prepare_vnni, NULL},
    [WH_DEPTHWISE_CONV_2D] = {wh_depthwise_3x3_avx2, wh_depthwise_3x3_needs_avx2,
                              wh_depthwise_3x3_prepare_avx2, &depthwise},
    [WH_ADD] = {wh_sum_avx2, wh_sum_needs_avx2, wh_sum_prepare_avx2, NULL},
    [WH_SUB] = {wh_sum_avx2, wh_sum_needs_avx2, wh_sum_prepare_avx2, NULL},
    [WH_AVERAGE_POOL_2D] = {.run = wh_average_pool_2d_avx2},
    [WH_MAX_POOL_2D] = {.run = wh_max_pool_2d_avx2},
}};

const wh_kernels *wh_avx512vnni_kernels(void)
{
    return &avx512vnni;
}

#endif
