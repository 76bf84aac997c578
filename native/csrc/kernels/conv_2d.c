/* CONV_2D: per-channel weights w[out, kh, kw, c / groups]; taps outside the input are skipped. */

#include "../core/layout.h"
#include "dot.h"
#include "kernels.h"
#include "rescale.h"
#include "window.h"

typedef struct {
    const int8_t *x;  /* the image of the batch */
    const int8_t *w;
    const int32_t *bias, *m, *s, *params;
    int32_t in_h, in_w, in_c;
    int32_t kernel_h, kernel_w, kernel_c;
    int32_t out_h, out_w, out_c;
    int32_t per_group;  /* output channels of one group */
    int32_t zero_x, zero_y;
} conv;

static conv describe(const wh_call *call)
{
    const wh_tensor *x = wh_operand(call, WH_X);
    const wh_tensor *w = wh_operand(call, WH_WEIGHTS);
    const wh_tensor *y = wh_result(call);
    conv c = {
        .x = wh_operand_int8(call, WH_X),
        .w = wh_operand_int8(call, WH_WEIGHTS),
        .bias = wh_operand_int32(call, WH_BIAS),
        .m = wh_operand_int32(call, WH_MULTIPLIER),
        .s = wh_operand_int32(call, WH_SHIFT),
        .params = call->node->params,
        .in_h = wh_dim(x, 1), .in_w = wh_dim(x, 2), .in_c = wh_dim(x, 3),
        .kernel_h = wh_dim(w, 1), .kernel_w = wh_dim(w, 2), .kernel_c = wh_dim(w, 3),
        .out_h = wh_dim(y, 1), .out_w = wh_dim(y, 2), .out_c = wh_dim(y, 3),
        .zero_x = x->zero_point,
        .zero_y = y->zero_point,
    };
    c.per_group = c.out_c / (c.in_c / c.kernel_c);
    return c;
}

/* The taps of one row of the filter. They are contiguous in x and w when nothing is dilated and
 * there is one group. */
static int32_t row_sum(const conv *c, const int8_t *x_row, const int8_t *w_row, wh_window columns)
{
    int32_t dilation = c->params[WH_CONV_DILATION_W];
    int32_t taps = columns.end - columns.first;
    intptr_t step = (intptr_t)dilation * c->in_c;
    const int8_t *x = x_row + columns.origin * (intptr_t)c->in_c + columns.first * step;
    const int8_t *w = w_row + (intptr_t)columns.first * c->kernel_c;
    if (step == c->kernel_c) {
        return wh_dot(x, w, taps * c->kernel_c, c->zero_x);
    }
    int32_t sum = 0;
    for (int32_t i = 0; i < taps; i++) {
        sum += wh_dot(x + i * step, w + (intptr_t)i * c->kernel_c, c->kernel_c, c->zero_x);
    }
    return sum;
}

static int32_t window_sum(const conv *c, int32_t channel, wh_window rows, wh_window columns)
{
    intptr_t w_row_size = (intptr_t)c->kernel_w * c->kernel_c;
    intptr_t x_row_size = (intptr_t)c->in_w * c->in_c;
    const int8_t *w = c->w + channel * w_row_size * c->kernel_h;
    const int8_t *x = c->x + (intptr_t)(channel / c->per_group) * c->kernel_c;
    int32_t sum = 0;
    for (int32_t k = rows.first; k < rows.end; k++) {
        int32_t row = rows.origin + k * c->params[WH_CONV_DILATION_H];
        sum += row_sum(c, x + row * x_row_size, w + k * w_row_size, columns);
    }
    return sum;
}

static void pixel(const conv *c, wh_window rows, wh_window columns, int8_t *y)
{
    for (int32_t o = 0; o < c->out_c; o++) {
        int32_t sum = wh_wrapping_add(window_sum(c, o, rows, columns), c->bias[o]);
        y[o] = wh_to_int8(wh_rescale(sum, c->m[o], c->s[o]), c->zero_y,
                          c->params[WH_CONV_ACT_MIN], c->params[WH_CONV_ACT_MAX]);
    }
}

void wh_conv_2d(const wh_call *call)
{
    conv c = describe(call);
    const int32_t *p = c.params;
    int8_t *y = wh_result_int8(call);
    int32_t batches = wh_dim(wh_operand(call, WH_X), 0);
    for (int32_t b = 0; b < batches; b++) {
        for (int32_t oy = 0; oy < c.out_h; oy++) {
            wh_window rows = wh_window_at(oy, p[WH_CONV_STRIDE_H], p[WH_CONV_PAD_TOP],
                                          p[WH_CONV_DILATION_H], c.kernel_h, c.in_h);
            for (int32_t ox = 0; ox < c.out_w; ox++, y += c.out_c) {
                wh_window columns = wh_window_at(ox, p[WH_CONV_STRIDE_W], p[WH_CONV_PAD_LEFT],
                                                 p[WH_CONV_DILATION_W], c.kernel_w, c.in_w);
                pixel(&c, rows, columns, y);
            }
        }
        c.x += (intptr_t)c.in_h * c.in_w * c.in_c;
    }
}
