/* TRANSPOSE_CONV: y[oy, ox] sums x[iy, ix] w[ky, kx] where oy = iy stride - pad + ky, and so in
 * width. Gathered per output, so that no accumulators have to be kept. */

#include "../core/layout.h"
#include "dot.h"
#include "kernels.h"
#include "wide.h"

typedef struct {
    const void *x;
    const int8_t *w;
    const int32_t *params;
    const wh_tensor *in, *weights, *out;
    intptr_t image;  /* elements in front of the batch's image */
    int32_t zero_x;
    int is_wide;
} transpose_conv;

/* The input coordinate that tap `k` brings to output `o`, or -1. */
static int32_t source(int32_t o, int32_t k, int32_t pad, int32_t stride, int32_t size)
{
    int32_t shifted = o + pad - k;
    return shifted < 0 || shifted % stride != 0 || shifted / stride >= size ? -1 : shifted / stride;
}

static int64_t tap(const transpose_conv *c, int32_t iy, int32_t ix, const int8_t *w)
{
    int32_t depth = wh_dim(c->in, 3);
    intptr_t at = c->image + ((intptr_t)iy * wh_dim(c->in, 2) + ix) * depth;
    int64_t sum = 0;
    for (int32_t i = 0; i < depth; i++) {
        sum += (wh_element(c->x, c->is_wide, at + i) - c->zero_x) * w[i];
    }
    return sum;
}

static int64_t sum_at(const transpose_conv *c, int32_t oy, int32_t ox, int32_t channel)
{
    const int32_t *p = c->params;
    int32_t taps_h = wh_dim(c->weights, 1);
    int32_t taps_w = wh_dim(c->weights, 2);
    int64_t sum = 0;
    for (int32_t ky = 0; ky < taps_h; ky++) {
        int32_t iy = source(oy, ky, p[WH_SCATTER_PAD_TOP], p[WH_SCATTER_STRIDE_H],
                            wh_dim(c->in, 1));
        for (int32_t kx = 0; iy >= 0 && kx < taps_w; kx++) {
            int32_t ix = source(ox, kx, p[WH_SCATTER_PAD_LEFT], p[WH_SCATTER_STRIDE_W],
                                wh_dim(c->in, 2));
            if (ix >= 0) {
                intptr_t filter = ((intptr_t)channel * taps_h + ky) * taps_w + kx;
                sum += tap(c, iy, ix, c->w + filter * wh_dim(c->in, 3));
            }
        }
    }
    return sum;
}

static void image(const wh_call *call, const transpose_conv *c, intptr_t y)
{
    wh_wide_layer wide = wh_describe_wide(call, c->params + WH_SCATTER_ACT_MIN);
    wh_channels narrow = {
        .bias = wh_operand_int32(call, WH_BIAS),
        .m = wide.m,
        .s = wide.s,
        .zero_y = c->out->zero_point,
        .act_min = wide.act_min,
        .act_max = wide.act_max,
    };
    for (int32_t oy = 0; oy < wh_dim(c->out, 1); oy++) {
        for (int32_t ox = 0; ox < wh_dim(c->out, 2); ox++) {
            for (int32_t o = 0; o < wh_dim(c->out, 3); o++) {
                int64_t sum = sum_at(c, oy, ox, o);
                int32_t value = c->is_wide ? wh_finish_wide(&wide, o, sum)
                                           : wh_finish(&narrow, o, (int32_t)sum);
                wh_store(wh_result_int8(call), c->is_wide, y++, value);
            }
        }
    }
}

void wh_transpose_conv(const wh_call *call)
{
    const wh_tensor *in = wh_operand(call, WH_X);
    const wh_tensor *out = wh_result(call);
    transpose_conv c = {
        .x = wh_bytes(call, in),
        .w = wh_operand_int8(call, WH_WEIGHTS),
        .params = call->node->params,
        .in = in,
        .weights = wh_operand(call, WH_WEIGHTS),
        .out = out,
        .zero_x = in->zero_point,
        .is_wide = out->dtype == WH_INT16,
    };
    intptr_t outputs = (intptr_t)wh_dim(out, 1) * wh_dim(out, 2) * wh_dim(out, 3);
    for (int32_t b = 0; b < wh_dim(in, 0); b++) {
        image(call, &c, b * outputs);
        c.image += (intptr_t)wh_dim(in, 1) * wh_dim(in, 2) * wh_dim(in, 3);
    }
}
