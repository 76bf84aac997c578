/* FULLY_CONNECTED, CONV_2D and DEPTHWISE_CONV_2D of 16-bit activations and 8-bit weights, as
 * TFLite's reference kernels compute them. Zero points are 0. */

#include "../core/layout.h"
#include "kernels.h"
#include "wide.h"
#include "window.h"

static int64_t dot(const int16_t *x, const int8_t *w, int32_t count)
{
    int64_t sum = 0;
    for (int32_t i = 0; i < count; i++) {
        sum += (int32_t)x[i] * w[i];
    }
    return sum;
}

void wh_fully_connected_16(const wh_call *call)
{
    wh_wide_layer l = wh_describe_wide(call, call->node->params + WH_FC_ACT_MIN);
    const wh_tensor *weights = wh_operand(call, WH_WEIGHTS);
    int32_t outputs = wh_dim(weights, 0);
    int32_t inputs = wh_dim(weights, 1);
    const int16_t *row = wh_bytes(call, wh_operand(call, WH_X));
    const int16_t *end = row + wh_operand(call, WH_X)->size / sizeof *row;
    int16_t *y = wh_result_int16(call);
    for (; row < end; row += inputs, y += outputs) {
        for (int32_t o = 0; o < outputs; o++) {
            y[o] = wh_finish_wide(&l, o, dot(row, l.w + (intptr_t)o * inputs, inputs));
        }
    }
}

/* A convolution's geometry; x stands at the image of the batch. */
typedef struct {
    wh_wide_layer l;
    const int16_t *x;
    const int32_t *params;
    const wh_tensor *in, *weights, *out;
    int32_t per_group;  /* output channels of one group (CONV_2D), or per input channel */
} conv;

typedef int64_t (*tap)(const conv *c, const int16_t *x, const int8_t *w, int32_t channel);

/* All input channels of the output channel's group. */
static int64_t conv_tap(const conv *c, const int16_t *x, const int8_t *w, int32_t channel)
{
    int32_t depth = wh_dim(c->weights, 3);
    intptr_t taps = (intptr_t)wh_dim(c->weights, 1) * wh_dim(c->weights, 2);
    return dot(x + (intptr_t)(channel / c->per_group) * depth, w + channel * taps * depth, depth);
}

static int64_t depthwise_tap(const conv *c, const int16_t *x, const int8_t *w, int32_t channel)
{
    return (int32_t)x[channel / c->per_group] * w[channel];
}

static int64_t sum_at(const conv *c, wh_window rows, wh_window columns, int32_t channel, tap one)
{
    int64_t sum = 0;
    for (int32_t ky = rows.first; ky < rows.end; ky++) {
        intptr_t row = rows.origin + ky * c->params[WH_CONV_DILATION_H];
        for (int32_t kx = columns.first; kx < columns.end; kx++) {
            intptr_t column = columns.origin + kx * c->params[WH_CONV_DILATION_W];
            const int16_t *x = c->x + (row * wh_dim(c->in, 2) + column) * wh_dim(c->in, 3);
            intptr_t at = (intptr_t)ky * wh_dim(c->weights, 2) + kx;
            sum += one(c, x, c->l.w + at * wh_dim(c->weights, 3), channel);
        }
    }
    return sum;
}

static int16_t *row_of_pixels(const conv *c, wh_window rows, tap one, int16_t *y)
{
    const int32_t *p = c->params;
    for (int32_t ox = 0; ox < wh_dim(c->out, 2); ox++) {
        wh_window columns = wh_window_at(ox, p[WH_CONV_STRIDE_W], p[WH_CONV_PAD_LEFT],
                                         p[WH_CONV_DILATION_W], wh_dim(c->weights, 2),
                                         wh_dim(c->in, 2));
        for (int32_t o = 0; o < wh_dim(c->out, 3); o++) {
            *y++ = wh_finish_wide(&c->l, o, sum_at(c, rows, columns, o, one));
        }
    }
    return y;
}

static void slide(conv *c, tap one, int16_t *y)
{
    const int32_t *p = c->params;
    for (int32_t b = 0; b < wh_dim(c->in, 0); b++) {
        for (int32_t oy = 0; oy < wh_dim(c->out, 1); oy++) {
            wh_window rows = wh_window_at(oy, p[WH_CONV_STRIDE_H], p[WH_CONV_PAD_TOP],
                                          p[WH_CONV_DILATION_H], wh_dim(c->weights, 1),
                                          wh_dim(c->in, 1));
            y = row_of_pixels(c, rows, one, y);
        }
        c->x += (intptr_t)wh_dim(c->in, 1) * wh_dim(c->in, 2) * wh_dim(c->in, 3);
    }
}

static conv describe_conv(const wh_call *call)
{
    conv c = {
        .l = wh_describe_wide(call, call->node->params + WH_CONV_ACT_MIN),
        .x = wh_bytes(call, wh_operand(call, WH_X)),
        .params = call->node->params,
        .in = wh_operand(call, WH_X),
        .weights = wh_operand(call, WH_WEIGHTS),
        .out = wh_result(call),
    };
    return c;
}

void wh_conv_2d_16(const wh_call *call)
{
    conv c = describe_conv(call);
    c.per_group = wh_dim(c.out, 3) / (wh_dim(c.in, 3) / wh_dim(c.weights, 3));
    slide(&c, conv_tap, wh_result_int16(call));
}

void wh_depthwise_conv_2d_16(const wh_call *call)
{
    conv c = describe_conv(call);
    c.per_group = wh_dim(c.out, 3) / wh_dim(c.in, 3);
    slide(&c, depthwise_tap, wh_result_int16(call));
}
