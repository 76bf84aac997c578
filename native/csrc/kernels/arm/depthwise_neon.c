/* DEPTHWISE_CONV_2D, eight channels at a time, straight from the input: nothing is prepared. */

#if defined(__aarch64__)

#include "../../core/layout.h"
#include "../dot.h"
#include "../window.h"
#include "dense.h"
#include "finish.h"

#define BLOCK 8

typedef struct {
    const int8_t *x;  /* the image of the batch */
    const int8_t *w;
    const int32_t *params;
    wh_channels channels;
    wh_bounds bounds;
    int32_t in_h, in_w, kernel_h, kernel_w, out_h, out_w, depth;
    int32_t zero_x;
} depthwise;

/* The taps of one output that lie inside. */
typedef struct {
    wh_window rows, columns;
} taps;

int wh_depthwise_needs(const wh_program *program, const wh_node *node, wh_needs *needs)
{
    (void)needs;
    return wh_is_plain_int8(program, node) &&
           wh_operand_of(program, node, WH_X)->dims[3] == program->tensors[node->output].dims[3];
}

static depthwise describe(const wh_call *call)
{
    const wh_tensor *x = wh_operand(call, WH_X);
    const wh_tensor *w = wh_operand(call, WH_WEIGHTS);
    const wh_tensor *y = wh_result(call);
    const int32_t *p = call->node->params;
    return (depthwise){
        .x = wh_operand_int8(call, WH_X),
        .w = wh_operand_int8(call, WH_WEIGHTS),
        .params = p,
        .channels = {wh_operand_int32(call, WH_BIAS), wh_operand_int32(call, WH_MULTIPLIER),
                     wh_operand_int32(call, WH_SHIFT), y->zero_point, p[WH_CONV_ACT_MIN],
                     p[WH_CONV_ACT_MAX]},
        .bounds = {vdupq_n_s32(y->zero_point), vdupq_n_s32(p[WH_CONV_ACT_MIN]),
                   vdupq_n_s32(p[WH_CONV_ACT_MAX])},
        .in_h = wh_dim(x, 1), .in_w = wh_dim(x, 2),
        .kernel_h = wh_dim(w, 1), .kernel_w = wh_dim(w, 2),
        .out_h = wh_dim(y, 1), .out_w = wh_dim(y, 2), .depth = wh_dim(y, 3),
        .zero_x = x->zero_point,
    };
}

/* Where a tap's channel 0 lies in input and weights. */
static inline const int8_t *input_at(const depthwise *d, const taps *t, int32_t ky, int32_t kx)
{
    intptr_t row = t->rows.origin + ky * d->params[WH_CONV_DILATION_H];
    intptr_t column = t->columns.origin + kx * d->params[WH_CONV_DILATION_W];
    return d->x + (row * d->in_w + column) * d->depth;
}

static inline const int8_t *weights_at(const depthwise *d, int32_t ky, int32_t kx)
{
    return d->w + ((intptr_t)ky * d->kernel_w + kx) * d->depth;
}

static void block(const depthwise *d, const taps *t, int32_t c, int8_t *y)
{
    int32x4_t low = vdupq_n_s32(0);
    int32x4_t high = vdupq_n_s32(0);
    int8x8_t zero_x = vdup_n_s8((int8_t)d->zero_x);
    for (int32_t ky = t->rows.first; ky < t->rows.end; ky++) {
        for (int32_t kx = t->columns.first; kx < t->columns.end; kx++) {
            int16x8_t x = vsubl_s8(vld1_s8(input_at(d, t, ky, kx) + c), zero_x);
            int16x8_t w = vmovl_s8(vld1_s8(weights_at(d, ky, kx) + c));
            low = vmlal_s16(low, vget_low_s16(x), vget_low_s16(w));
            high = vmlal_high_s16(high, x, w);
        }
    }
    const wh_channels *ch = &d->channels;
    wh_lanes first = wh_lanes_at(ch->bias + c, ch->m + c, ch->s + c);
    wh_lanes second = wh_lanes_at(ch->bias + c + 4, ch->m + c + 4, ch->s + c + 4);
    int16x4_t lows = vqmovn_s32(wh_finish_lanes(&d->bounds, &first, low));
    int16x4_t highs = vqmovn_s32(wh_finish_lanes(&d->bounds, &second, high));
    vst1_s8(y + c, vqmovn_s16(vcombine_s16(lows, highs)));
}

static int32_t sum_of(const depthwise *d, const taps *t, int32_t c)
{
    int32_t sum = 0;
    for (int32_t ky = t->rows.first; ky < t->rows.end; ky++) {
        for (int32_t kx = t->columns.first; kx < t->columns.end; kx++) {
            sum += (input_at(d, t, ky, kx)[c] - d->zero_x) * weights_at(d, ky, kx)[c];
        }
    }
    return sum;
}

static void pixel(const depthwise *d, const taps *t, int8_t *y)
{
    int32_t c = 0;
    for (; c + BLOCK <= d->depth; c += BLOCK) {
        block(d, t, c, y);
    }
    for (; c < d->depth; c++) {
        y[c] = wh_finish(&d->channels, c, sum_of(d, t, c));
    }
}

void wh_depthwise_conv_2d_neon(const wh_call *call)
{
    depthwise d = describe(call);
    const int32_t *p = d.params;
    int8_t *y = wh_result_int8(call);
    for (int32_t b = 0; b < wh_dim(wh_operand(call, WH_X), 0); b++) {
        for (int32_t oy = 0; oy < d.out_h; oy++) {
            taps t = {.rows = wh_window_at(oy, p[WH_CONV_STRIDE_H], p[WH_CONV_PAD_TOP],
                                           p[WH_CONV_DILATION_H], d.kernel_h, d.in_h)};
            for (int32_t ox = 0; ox < d.out_w; ox++, y += d.depth) {
                t.columns = wh_window_at(ox, p[WH_CONV_STRIDE_W], p[WH_CONV_PAD_LEFT],
                                         p[WH_CONV_DILATION_W], d.kernel_w, d.in_w);
                pixel(&d, &t, y);
            }
        }
        d.x += (intptr_t)d.in_h * d.in_w * d.depth;
    }
}

#endif
