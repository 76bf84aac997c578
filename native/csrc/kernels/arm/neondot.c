/* The kernel table of aarch64 processors with the dot product of Armv8.2: four products and their
 * sum in one lane of one instruction. Depthwise layers have no use for it and run as in neon.c. */

#if defined(__aarch64__)

#include "dense.h"
#include "tables.h"

#if defined(__clang__)
#define WITH_DOT_PRODUCT __attribute__((target("dotprod")))
#else
#define WITH_DOT_PRODUCT __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

/* Four taps of each of the four channels make a vector. */
static intptr_t place(int32_t channel, int32_t tap, int32_t padded)
{
    (void)padded;
    return (intptr_t)(tap / 4) * 16 + channel * 4 + tap % 4;
}

WITH_DOT_PRODUCT static int32x4_t row(const int8_t *x, const int8_t *block, int32_t padded)
{
    int32x4_t sum = vdupq_n_s32(0);
    for (int32_t tap = 0; tap < padded; tap += WH_TAPS, block += WH_TAPS * WH_CHANNELS) {
        int8x16_t inputs = vld1q_s8(x + tap);
        sum = vdotq_laneq_s32(sum, vld1q_s8(block), inputs, 0);
        sum = vdotq_laneq_s32(sum, vld1q_s8(block + 16), inputs, 1);
        sum = vdotq_laneq_s32(sum, vld1q_s8(block + 32), inputs, 2);
        sum = vdotq_laneq_s32(sum, vld1q_s8(block + 48), inputs, 3);
    }
    return sum;
}

WITH_DOT_PRODUCT static void rows(const int8_t *const *x, const int8_t *block, int32_t padded,
                                  int32x4_t *sums)
{
    int32x4_t sum[WH_ROWS] = {{0}};
    for (int32_t tap = 0; tap < padded; tap += WH_TAPS, block += WH_TAPS * WH_CHANNELS) {
        int8x16_t w0 = vld1q_s8(block);
        int8x16_t w1 = vld1q_s8(block + 16);
        int8x16_t w2 = vld1q_s8(block + 32);
        int8x16_t w3 = vld1q_s8(block + 48);
        for (int32_t i = 0; i < WH_ROWS; i++) {
            int8x16_t inputs = vld1q_s8(x[i] + tap);
            sum[i] = vdotq_laneq_s32(sum[i], w0, inputs, 0);
            sum[i] = vdotq_laneq_s32(sum[i], w1, inputs, 1);
            sum[i] = vdotq_laneq_s32(sum[i], w2, inputs, 2);
            sum[i] = vdotq_laneq_s32(sum[i], w3, inputs, 3);
        }
    }
    for (int32_t i = 0; i < WH_ROWS; i++) {
        sums[i] = sum[i];
    }
}

static const wh_dot_product dot = {place, row, rows};

static void prepare(const wh_program *program, const wh_node *node, void *prepared)
{
    wh_dense_prepare(program, node, &dot, prepared);
}

static void fully_connected(const wh_call *call)
{
    wh_fully_connected_dense(call, &dot);
}

static void conv_2d(const wh_call *call)
{
    wh_conv_2d_dense(call, &dot);
}

static const wh_kernels neondot = {"neondot", {
    [WH_FULLY_CONNECTED] = {fully_connected, wh_dense_needs, prepare, NULL},
    [WH_CONV_2D] = {conv_2d, wh_dense_needs, prepare, NULL},
    [WH_DEPTHWISE_CONV_2D] = {.run = wh_depthwise_conv_2d_neon, .needs = wh_depthwise_needs},
}};

const wh_kernels *wh_neondot_kernels(void)
{
    return &neondot;
}

#endif
