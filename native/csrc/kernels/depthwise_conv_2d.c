/* DEPTHWISE_CONV_2D: w[1, kh, kw, c k]; output channel o reads input channel o / k. */

#include "../core/layout.h"
#include "dot.h"
#include "kernels.h"
#include "window.h"

/* Output channels that are accumulated together on the stack. */
#define BLOCK 64

typedef struct {
    const int8_t *x;
    const int8_t *w;
    const int32_t *params;
    wh_channels channels;
    int32_t in_h, in_w, in_c;
    int32_t kernel_h, kernel_w;
    int32_t out_h, out_w, out_c;
    int32_t multiplicity;  /* output channels per input channel */
    int32_t zero_x;
} depthwise;

static depthwise describe(const wh_call *call)
{
    const wh_tensor *x = wh_operand(call, WH_X);
    const wh_tensor *w = wh_operand(call, WH_WEIGHTS);
    const wh_tensor *y = wh_result(call);
    depthwise d = {
        .x = wh_operand_int8(call, WH_X),
        .w = wh_operand_int8(call, WH_WEIGHTS),
        .params = call->node->params,
        .channels = {
            .bias = wh_operand_int32(call, WH_BIAS),
            .m = wh_operand_int32(call, WH_MULTIPLIER),
            .s = wh_operand_int32(call, WH_SHIFT),
            .zero_y = y->zero_point,
            .act_min = call->node->params[WH_CONV_ACT_MIN],
            .act_max = call->node->params[WH_CONV_ACT_MAX],
            .is_float = call->node->rounding == WH_ROUNDING_F,
        },
        .in_h = wh_dim(x, 1), .in_w = wh_dim(x, 2), .in_c = wh_dim(x, 3),
        .kernel_h = wh_dim(w, 1), .kernel_w = wh_dim(w, 2),
        .out_h = wh_dim(y, 1), .out_w = wh_dim(y, 2), .out_c = wh_dim(y, 3),
        .multiplicity = wh_dim(y, 3) / wh_dim(x, 3),
        .zero_x = x->zero_point,
    };
    return d;
}

/* One tap on `count` output channels from `first` on; x and w stand at the tap's channel 0. */
static void add_tap(const depthwise *d, const int8_t *x, const int8_t *w, int32_t first,
                    int32_t count, int32_t *sums)
{
    if (d->multiplicity == 1) {
        for (int32_t i = 0; i < count; i++) {
            sums[i] += (int16_t)(x[first + i] - d->zero_x) * (int16_t)w[first + i];
        }
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        sums[i] += (x[(first + i) / d->multiplicity] - d->zero_x) * w[first + i];
    }
}

static void add_taps(const depthwise *d, wh_window rows, wh_window columns, int32_t first,
                     int32_t count, int32_t *sums)
{
    for (int32_t ky = rows.first; ky < rows.end; ky++) {
        intptr_t row = rows.origin + ky * d->params[WH_CONV_DILATION_H];
        for (int32_t kx = columns.first; kx < columns.end; kx++) {
            intptr_t column = columns.origin + kx * d->params[WH_CONV_DILATION_W];
            const int8_t *x = d->x + (row * d->in_w + column) * d->in_c;
            const int8_t *w = d->w + ((intptr_t)ky * d->kernel_w + kx) * d->out_c;
            add_tap(d, x, w, first, count, sums);
        }
    }
}

static void block(const depthwise *d, wh_window rows, wh_window columns, int32_t first,
                  int32_t count, int8_t *y)
{
    int32_t sums[BLOCK] = {0};
    add_taps(d, rows, columns, first, count, sums);
    for (int32_t i = 0; i < count; i++) {
        y[first + i] = wh_finish(&d->channels, first + i, sums[i]);
    }
}

static void pixel(const depthwise *d, wh_window rows, wh_window columns, int8_t *y)
{
    for (int32_t first = 0; first < d->out_c; first += BLOCK) {
        int32_t rest = d->out_c - first;
        block(d, rows, columns, first, rest < BLOCK ? rest : BLOCK, y);
    }
}

void wh_depthwise_conv_2d(const wh_call *call)
{
    depthwise d = describe(call);
    const int32_t *p = d.params;
    int8_t *y = wh_result_int8(call);
    int32_t batches = wh_dim(wh_operand(call, WH_X), 0);
    for (int32_t b = 0; b < batches; b++) {
        for (int32_t oy = 0; oy < d.out_h; oy++) {
            wh_window rows = wh_window_at(oy, p[WH_CONV_STRIDE_H], p[WH_CONV_PAD_TOP],
                                          p[WH_CONV_DILATION_H], d.kernel_h, d.in_h);
            for (int32_t ox = 0; ox < d.out_w; ox++, y += d.out_c) {
                wh_window columns = wh_window_at(ox, p[WH_CONV_STRIDE_W], p[WH_CONV_PAD_LEFT],
                                                 p[WH_CONV_DILATION_W], d.kernel_w, d.in_w);
                pixel(&d, rows, columns, y);
            }
        }
        d.x += (intptr_t)d.in_h * d.in_w * d.in_c;
    }
}
