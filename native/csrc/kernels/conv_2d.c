/* CONV_2D: per-channel weights w[out, kh, kw, c / groups]; taps outside the input are skipped. */

#include <string.h>

#include "../core/layout.h"
#include "dot.h"
#include "kernels.h"
#include "window.h"

/* Bytes of stack for the input of one output pixel; larger filters go tap by tap. */
#define PATCH_MAX 1024

typedef struct {
    const int8_t *x;  /* the image of the batch */
    const int8_t *w;
    const int32_t *params;
    wh_channels channels;
    int32_t in_h, in_w, in_c;
    int32_t kernel_h, kernel_w, kernel_c;
    int32_t out_h, out_w, out_c;
    int32_t per_group;  /* output channels of one group */
    int32_t zero_x;
} conv;

static conv describe(const wh_call *call)
{
    const wh_tensor *x = wh_operand(call, WH_X);
    const wh_tensor *w = wh_operand(call, WH_WEIGHTS);
    const wh_tensor *y = wh_result(call);
    conv c = {
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
        .kernel_h = wh_dim(w, 1), .kernel_w = wh_dim(w, 2), .kernel_c = wh_dim(w, 3),
        .out_h = wh_dim(y, 1), .out_w = wh_dim(y, 2), .out_c = wh_dim(y, 3),
        .zero_x = x->zero_point,
    };
    c.per_group = c.out_c / (c.in_c / c.kernel_c);
    return c;
}

/* The input's channels at a tap of the window. */
static const int8_t *input_at(const conv *c, wh_window rows, wh_window columns, int32_t ky,
                              int32_t kx)
{
    intptr_t y = rows.origin + ky * c->params[WH_CONV_DILATION_H];
    intptr_t x = columns.origin + kx * c->params[WH_CONV_DILATION_W];
    return c->x + (y * c->in_w + x) * c->in_c;
}

/* The window's input in the order of the weights. Outside the input it is the zero point, which
 * adds nothing to any sum. */
static void gather(const conv *c, wh_window rows, wh_window columns, int8_t *patch)
{
    size_t taps = (size_t)c->kernel_h * (size_t)c->kernel_w;
    memset(patch, (int)(uint8_t)c->zero_x, taps * (size_t)c->in_c);
    for (int32_t ky = rows.first; ky < rows.end; ky++) {
        for (int32_t kx = columns.first; kx < columns.end; kx++) {
            int8_t *to = patch + ((intptr_t)ky * c->kernel_w + kx) * c->in_c;
            memcpy(to, input_at(c, rows, columns, ky, kx), (size_t)c->in_c);
        }
    }
}

static int32_t sum_tap_by_tap(const conv *c, int32_t channel, wh_window rows, wh_window columns)
{
    const int8_t *w = c->w + (intptr_t)channel * c->kernel_h * c->kernel_w * c->kernel_c;
    intptr_t group = (intptr_t)(channel / c->per_group) * c->kernel_c;
    int32_t sum = 0;
    for (int32_t ky = rows.first; ky < rows.end; ky++) {
        for (int32_t kx = columns.first; kx < columns.end; kx++) {
            sum += wh_dot(input_at(c, rows, columns, ky, kx) + group,
                          w + ((intptr_t)ky * c->kernel_w + kx) * c->kernel_c, c->kernel_c,
                          c->zero_x);
        }
    }
    return sum;
}

static void pixel(const conv *c, wh_window rows, wh_window columns, int8_t *y)
{
    int32_t taps = c->kernel_h * c->kernel_w * c->kernel_c;
    int8_t patch[PATCH_MAX];
    if (c->kernel_c == c->in_c && taps <= PATCH_MAX) {
        gather(c, rows, columns, patch);
        wh_dense(&c->channels, patch, c->w, taps, c->out_c, c->zero_x, y);
        return;
    }
    for (int32_t o = 0; o < c->out_c; o++) {
        y[o] = wh_finish(&c->channels, o, sum_tap_by_tap(c, o, rows, columns));
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
