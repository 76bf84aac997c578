/* The kernel table of every aarch64 processor: products of 8 bits in 16, summed in 32. */

#if defined(__aarch64__)

#include "dense.h"
#include "tables.h"

/* A channel after the other. */
static intptr_t place(int32_t channel, int32_t tap, int32_t padded)
{
    return (intptr_t)channel * padded + tap;
}

/* Two products of -128 and -128 do not fit 16 bits together, so each half is summed by itself. */
static inline int32x4_t add_products(int32x4_t sum, int8x16_t x, int8x16_t w)
{
    sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(x), vget_low_s8(w)));
    return vpadalq_s16(sum, vmull_high_s8(x, w));
}

/* Lane i of the result is the sum of the lanes of part[i]. */
static inline int32x4_t joined(const int32x4_t *part)
{
    return vpaddq_s32(vpaddq_s32(part[0], part[1]), vpaddq_s32(part[2], part[3]));
}

static int32x4_t row(const int8_t *x, const int8_t *block, int32_t padded)
{
    int32x4_t part[WH_CHANNELS] = {{0}};
    for (int32_t tap = 0; tap < padded; tap += WH_TAPS) {
        int8x16_t inputs = vld1q_s8(x + tap);
        for (int32_t o = 0; o < WH_CHANNELS; o++) {
            part[o] = add_products(part[o], inputs, vld1q_s8(block + place(o, tap, padded)));
        }
    }
    return joined(part);
}

static void rows(const int8_t *const *x, const int8_t *block, int32_t padded, int32x4_t *sums)
{
    int32x4_t part[WH_ROWS][WH_CHANNELS] = {{{0}}};
    for (int32_t tap = 0; tap < padded; tap += WH_TAPS) {
        for (int32_t o = 0; o < WH_CHANNELS; o++) {
            int8x16_t weights = vld1q_s8(block + place(o, tap, padded));
            for (int32_t i = 0; i < WH_ROWS; i++) {
                part[i][o] = add_products(part[i][o], vld1q_s8(x[i] + tap), weights);
            }
        }
    }
    for (int32_t i = 0; i < WH_ROWS; i++) {
        sums[i] = joined(part[i]);
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

static const wh_kernels neon = {"neon", {
    [WH_FULLY_CONNECTED] = {fully_connected, wh_dense_needs, prepare, NULL},
    [WH_CONV_2D] = {conv_2d, wh_dense_needs, prepare, NULL},
    [WH_DEPTHWISE_CONV_2D] = {.run = wh_depthwise_conv_2d_neon, .needs = wh_depthwise_needs},
}};

const wh_kernels *wh_neon_kernels(void)
{
    return &neon;
}

#endif
