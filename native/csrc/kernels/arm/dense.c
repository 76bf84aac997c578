/* FULLY_CONNECTED and CONV_2D: rows of taps times blocks of four channels.
 *
 * Prepared: bias, multiplier and shift of every channel, then the blocks of weights. The input is
 * taken as it is, not centred: -zero_x times the sum of a channel's weights goes into its bias. A
 * row is the input of one output; it is used where it lies when it is a whole number of vectors in
 * one piece, and otherwise gathered in scratch, where taps outside are zero_x. */

#if defined(__aarch64__)

#include <string.h>

#include "../../core/layout.h"
#include "../rescale.h"
#include "../window.h"
#include "dense.h"
#include "finish.h"

typedef struct {
    const wh_dot_product *dot;
    wh_bounds bounds;
    const int32_t *bias, *m, *s;  /* `channels` rounded up to whole blocks */
    const int8_t *blocks;
    int32_t channels, taps, padded;
} dense;

/* WH_ROWS rows that wait for their outputs; y[i] are the outputs of row x[i]. */
typedef struct {
    const int8_t *x[WH_ROWS];
    int8_t *y;
    int32_t count;
} tile;

typedef struct {
    const int8_t *x;  /* the image of the batch */
    const int32_t *params;
    int32_t in_h, in_w, in_c, kernel_h, kernel_w;
    int8_t zero_x;
} image;

int wh_is_plain_int8(const wh_program *program, const wh_node *node)
{
    return node->rounding == WH_ROUNDING_D &&
           wh_operand_of(program, node, WH_X)->dtype == WH_INT8 &&
           wh_operand_of(program, node, WH_WEIGHTS)->dtype == WH_INT8 &&
           wh_operand_of(program, node, WH_BIAS)->dtype == WH_INT32 &&
           program->tensors[node->output].dtype == WH_INT8;
}

static size_t padded_to(size_t count, size_t multiple)
{
    return (count + multiple - 1) / multiple * multiple;
}

static dense describe(const wh_program *program, const wh_node *node, const wh_dot_product *dot,
                      const void *prepared)
{
    const wh_tensor *w = wh_operand_of(program, node, WH_WEIGHTS);
    const wh_tensor *y = &program->tensors[node->output];
    int is_conv = node->op == WH_CONV_2D;
    size_t lanes = padded_to(w->dims[0], WH_CHANNELS);
    const int32_t *bias = prepared;
    dense d = {
        .dot = dot,
        .bounds = {
            vdupq_n_s32(y->zero_point),
            vdupq_n_s32(node->params[is_conv ? WH_CONV_ACT_MIN : WH_FC_ACT_MIN]),
            vdupq_n_s32(node->params[is_conv ? WH_CONV_ACT_MAX : WH_FC_ACT_MAX]),
        },
        .bias = bias, .m = bias + lanes, .s = bias + 2 * lanes,
        .blocks = (const int8_t *)(bias + 3 * lanes),
        .channels = wh_dim(w, 0),
        .taps = (int32_t)(w->size / w->dims[0]),
    };
    d.padded = (int32_t)padded_to((size_t)d.taps, WH_TAPS);
    return d;
}

/* --- preparing ----------------------------------------------------------------------------- */

int wh_dense_needs(const wh_program *program, const wh_node *node, wh_needs *needs)
{
    const wh_tensor *x = wh_operand_of(program, node, WH_X);
    const wh_tensor *w = wh_operand_of(program, node, WH_WEIGHTS);
    if (!wh_is_plain_int8(program, node) ||
        (node->op == WH_CONV_2D && w->dims[3] != x->dims[3])) {
        return 0;
    }
    size_t lanes = padded_to(w->dims[0], WH_CHANNELS);
    size_t padded = padded_to(w->size / w->dims[0], WH_TAPS);
    needs->prepared = lanes * (3 * sizeof(int32_t) + padded);
    needs->scratch = WH_ROWS * padded;
    return 1;
}

static void pack_channel(const dense *d, int32_t channel, const int8_t *w, int8_t *block)
{
    int32_t lane = channel % WH_CHANNELS;
    for (int32_t tap = 0; tap < d->padded; tap++) {
        block[d->dot->place(lane, tap, d->padded)] = tap < d->taps && w != NULL ? w[tap] : 0;
    }
}

static int32_t sum_of(const int8_t *w, int32_t taps)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < taps; i++) {
        sum += w[i];
    }
    return sum;
}

static const void *constant(const wh_program *program, const wh_node *node, uint32_t operand)
{
    return program->image + wh_operand_of(program, node, operand)->offset;
}

void wh_dense_prepare(const wh_program *program, const wh_node *node, const wh_dot_product *dot,
                      void *prepared)
{
    dense d = describe(program, node, dot, prepared);
    const int8_t *w = constant(program, node, WH_WEIGHTS);
    const int32_t *bias = constant(program, node, WH_BIAS);
    const int32_t *m = constant(program, node, WH_MULTIPLIER);
    const int32_t *s = constant(program, node, WH_SHIFT);
    int32_t zero_x = wh_operand_of(program, node, WH_X)->zero_point;
    int32_t lanes = (int32_t)padded_to((size_t)d.channels, WH_CHANNELS);
    int32_t *to = prepared;
    int8_t *blocks = (int8_t *)(to + 3 * (size_t)lanes);
    for (int32_t o = 0; o < lanes; o++) {
        int is_there = o < d.channels;
        const int8_t *row = is_there ? w + (intptr_t)o * d.taps : NULL;
        pack_channel(&d, o, row, blocks + (intptr_t)(o - o % WH_CHANNELS) * d.padded);
        to[o] = is_there ? wh_wrapping_add(bias[o], -zero_x * sum_of(row, d.taps)) : 0;
        to[lanes + o] = is_there ? m[o] : 0;
        to[2 * lanes + o] = is_there ? s[o] : 0;
    }
}

/* --- running ------------------------------------------------------------------------------- */

static void store(const dense *d, int32_t first, const wh_lanes *lanes, int32x4_t sums, int8_t *y)
{
    int16x4_t narrow = vqmovn_s32(wh_finish_lanes(&d->bounds, lanes, sums));
    int8x8_t bytes = vqmovn_s16(vcombine_s16(narrow, narrow));
    int8_t four[8];
    vst1_s8(four, bytes);
    int32_t rest = d->channels - first;
    memcpy(y + first, four, rest < WH_CHANNELS ? (size_t)rest : WH_CHANNELS);
}

/* The outputs of all rows that wait. */
static void flush(const dense *d, tile *t)
{
    for (int32_t first = 0; first < d->channels; first += WH_CHANNELS) {
        wh_lanes lanes = wh_lanes_at(d->bias + first, d->m + first, d->s + first);
        const int8_t *block = d->blocks + (intptr_t)first * d->padded;
        int32x4_t sums[WH_ROWS];
        if (t->count == WH_ROWS) {
            d->dot->rows(t->x, block, d->padded, sums);
        } else {
            for (int32_t i = 0; i < t->count; i++) {
                sums[i] = d->dot->row(t->x[i], block, d->padded);
            }
        }
        for (int32_t i = 0; i < t->count; i++) {
            store(d, first, &lanes, sums[i], t->y + (intptr_t)i * d->channels);
        }
    }
    t->y += (intptr_t)t->count * d->channels;
    t->count = 0;
}

static void add_row(const dense *d, tile *t, const int8_t *x)
{
    t->x[t->count++] = x;
    if (t->count == WH_ROWS) {
        flush(d, t);
    }
}

/* Scratch for the row that comes next; what lies behind its taps meets weights of 0. */
static int8_t *room(const wh_call *call, const dense *d, const tile *t)
{
    int8_t *to = (int8_t *)call->scratch + (intptr_t)t->count * d->padded;
    memset(to + d->taps, 0, (size_t)(d->padded - d->taps));
    return to;
}

/* A row that lies in one piece. */
static void add_piece(const wh_call *call, const dense *d, tile *t, const int8_t *x)
{
    if (d->taps != d->padded) {
        x = memcpy(room(call, d, t), x, (size_t)d->taps);
    }
    add_row(d, t, x);
}

void wh_fully_connected_dense(const wh_call *call, const wh_dot_product *dot)
{
    dense d = describe(call->program, call->node, dot, call->prepared);
    const int8_t *x = wh_operand_int8(call, WH_X);
    tile t = {.y = wh_result_int8(call)};
    for (const int8_t *end = x + wh_operand(call, WH_X)->size; x < end; x += d.taps) {
        add_piece(call, &d, &t, x);
    }
    flush(&d, &t);
}

static const int8_t *input_at(const image *in, intptr_t y, intptr_t x)
{
    return in->x + (y * in->in_w + x) * in->in_c;
}

/* The window's input in the order of the weights; outside it is zero_x, which adds nothing. */
static void gather(const image *in, wh_window rows, wh_window columns, int8_t *to)
{
    int32_t dilation_h = in->params[WH_CONV_DILATION_H];
    int32_t dilation_w = in->params[WH_CONV_DILATION_W];
    int32_t step = dilation_w == 1 ? columns.end - columns.first : 1;  /* taps in one piece */
    memset(to, (uint8_t)in->zero_x, (size_t)in->kernel_h * (size_t)in->kernel_w *
                                        (size_t)in->in_c);
    for (int32_t ky = rows.first; ky < rows.end; ky++) {
        for (int32_t kx = columns.first; kx < columns.end; kx += step) {
            memcpy(to + ((intptr_t)ky * in->kernel_w + kx) * in->in_c,
                   input_at(in, rows.origin + ky * dilation_h, columns.origin + kx * dilation_w),
                   (size_t)step * (size_t)in->in_c);
        }
    }
}

static void add_window(const wh_call *call, const dense *d, const image *in, tile *t,
                       wh_window rows, int32_t ox)
{
    const int32_t *p = in->params;
    wh_window columns = wh_window_at(ox, p[WH_CONV_STRIDE_W], p[WH_CONV_PAD_LEFT],
                                     p[WH_CONV_DILATION_W], in->kernel_w, in->in_w);
    if (in->kernel_h == 1 && in->kernel_w == 1) {
        add_piece(call, d, t, input_at(in, rows.origin, columns.origin));
        return;
    }
    int8_t *patch = room(call, d, t);
    gather(in, rows, columns, patch);
    add_row(d, t, patch);
}

void wh_conv_2d_dense(const wh_call *call, const wh_dot_product *dot)
{
    dense d = describe(call->program, call->node, dot, call->prepared);
    const wh_tensor *x = wh_operand(call, WH_X);
    const wh_tensor *w = wh_operand(call, WH_WEIGHTS);
    const int32_t *p = call->node->params;
    image in = {wh_operand_int8(call, WH_X), p, wh_dim(x, 1), wh_dim(x, 2), wh_dim(x, 3),
                wh_dim(w, 1), wh_dim(w, 2), (int8_t)x->zero_point};
    int32_t out_h = wh_dim(wh_result(call), 1);
    int32_t out_w = wh_dim(wh_result(call), 2);
    tile t = {.y = wh_result_int8(call)};
    for (int32_t b = 0; b < wh_dim(x, 0); b++) {
        for (int32_t oy = 0; oy < out_h; oy++) {
            wh_window rows = wh_window_at(oy, p[WH_CONV_STRIDE_H], p[WH_CONV_PAD_TOP],
                                          p[WH_CONV_DILATION_H], in.kernel_h, in.in_h);
            for (int32_t ox = 0; ox < out_w; ox++) {
                add_window(call, &d, &in, &t, rows, ox);
            }
        }
        in.x += (intptr_t)in.in_h * in.in_w * in.in_c;
    }
    flush(&d, &t);
}

#endif
