/* Nodes with weights, and pools: filters that slide over an input. */

#include "node_checks.h"

/* 64-bit biases leave the sum within 2^47. */
static int check_bias(const wh_subject *s, uint32_t channels)
{
    const int64_t limit = (int64_t)1 << 46;
    if (s->node->rounding != WH_ROUNDING_W) {
        return wh_vector(s, WH_BIAS, WH_INT32, channels) != NULL ? WH_OK : WH_ERR_SHAPE;
    }
    const int64_t *bias = wh_vector(s, WH_BIAS, WH_INT64, channels);
    if (bias == NULL || !wh_is_wide(s)) {
        return WH_ERR_SHAPE;
    }
    for (uint32_t i = 0; i < channels; i++) {
        if (bias[i] < -limit || bias[i] > limit) {
            return WH_ERR_PARAM;
        }
    }
    return WH_OK;
}

/* 31 bits of which a float32 has room for the first 24. */
static int is_float_multiplier(int32_t multiplier)
{
    return (multiplier & 127) == 0;
}

/* Weights, bias, multipliers and shifts of an operator with `channels` outputs. */
static int check_channels(const wh_subject *s, uint32_t channels)
{
    const wh_tensor *weights = wh_subject_operand(s, WH_WEIGHTS);
    const int32_t *m = wh_vector(s, WH_MULTIPLIER, WH_INT32, channels);
    const int32_t *shift = wh_vector(s, WH_SHIFT, WH_INT32, channels);
    if (weights->kind != WH_CONSTANT || weights->dtype != WH_INT8 ||
        !wh_is_as_wide(s, wh_subject_operand(s, WH_X)) || m == NULL || shift == NULL) {
        return WH_ERR_SHAPE;
    }
    if (weights->zero_point != 0) {
        return WH_ERR_PARAM;
    }
    if (s->node->rounding == WH_ROUNDING_F && s->output->dtype != WH_INT8) {
        return WH_ERR_SHAPE;
    }
    int32_t shift_max = s->node->rounding == WH_ROUNDING_W ? 7 : 30;
    for (uint32_t i = 0; i < channels; i++) {
        if (wh_check_rescale(m[i], shift[i], shift_max) != WH_OK ||
            (s->node->rounding == WH_ROUNDING_F && !is_float_multiplier(m[i]))) {
            return WH_ERR_PARAM;
        }
    }
    return check_bias(s, channels);
}

int wh_check_fully_connected(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, WH_X);
    const wh_tensor *w = wh_subject_operand(s, WH_WEIGHTS);
    if (w->rank != 2 || w->dims[1] > TAPS_MAX || wh_elements(x) % w->dims[1] != 0 ||
        !wh_is_as_wide(s, x) ||
        (uint64_t)(wh_elements(x) / w->dims[1]) * w->dims[0] != wh_elements(s->output)) {
        return WH_ERR_SHAPE;
    }
    int status = check_channels(s, w->dims[0]);
    return status != WH_OK ? status : wh_check_activation(s, WH_FC_ACT_MIN);
}

/* One axis of a window: every field in range, and every output position sees an input element. */
static int is_window(int32_t stride, int32_t dilation, int32_t pad, uint32_t taps, uint32_t in,
                     uint32_t out)
{
    if (!wh_is_in(stride, 1, 65535) || !wh_is_in(dilation, 1, 65535) || taps > TAPS_MAX) {
        return 0;
    }
    int64_t reach = (int64_t)(taps - 1) * dilation;
    int64_t last = ((int64_t)out - 1) * stride - pad;
    return pad >= 0 && pad <= reach && reach <= COORDINATE_MAX && in <= COORDINATE_MAX &&
           last < (int64_t)in && last + reach <= COORDINATE_MAX;
}

static int check_windows(const wh_subject *s, uint32_t taps_h, uint32_t taps_w)
{
    const wh_tensor *x = wh_subject_operand(s, WH_X);
    const int32_t *p = s->params;
    int is_sound = is_window(p[WH_CONV_STRIDE_H], p[WH_CONV_DILATION_H], p[WH_CONV_PAD_TOP], taps_h,
                             x->dims[1], s->output->dims[1]) &&
                   is_window(p[WH_CONV_STRIDE_W], p[WH_CONV_DILATION_W], p[WH_CONV_PAD_LEFT],
                             taps_w, x->dims[2], s->output->dims[2]);
    return is_sound ? wh_check_activation(s, WH_CONV_ACT_MIN) : WH_ERR_PARAM;
}

int wh_check_conv_2d(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, WH_X);
    const wh_tensor *w = wh_subject_operand(s, WH_WEIGHTS);
    if (!wh_is_image_pair(s) || w->rank != 4 || w->dims[0] != s->output->dims[3] ||
        x->dims[3] % w->dims[3] != 0 || w->dims[0] % (x->dims[3] / w->dims[3]) != 0 ||
        w->size / w->dims[0] > TAPS_MAX) {
        return WH_ERR_SHAPE;
    }
    int status = check_channels(s, w->dims[0]);
    return status != WH_OK ? status : check_windows(s, w->dims[1], w->dims[2]);
}

int wh_check_depthwise_conv_2d(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, WH_X);
    const wh_tensor *w = wh_subject_operand(s, WH_WEIGHTS);
    if (!wh_is_image_pair(s) || w->rank != 4 || w->dims[0] != 1 ||
        w->dims[3] != s->output->dims[3] || w->dims[3] % x->dims[3] != 0 ||
        w->size / w->dims[3] > TAPS_MAX) {
        return WH_ERR_SHAPE;
    }
    int status = check_channels(s, w->dims[3]);
    return status != WH_OK ? status : check_windows(s, w->dims[1], w->dims[2]);
}

int wh_check_pool(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, 0);
    const wh_tensor *y = s->output;
    const int32_t *p = s->params;
    if (!wh_is_image_pair(s) || x->dims[3] != y->dims[3]) {
        return WH_ERR_SHAPE;
    }
    if (!wh_is_in(p[WH_POOL_FILTER_H], 1, TAPS_MAX) ||
        !wh_is_in(p[WH_POOL_FILTER_W], 1, TAPS_MAX) ||
        x->zero_point != y->zero_point ||
        !is_window(p[WH_POOL_STRIDE_H], 1, p[WH_POOL_PAD_TOP], (uint32_t)p[WH_POOL_FILTER_H],
                   x->dims[1], y->dims[1]) ||
        !is_window(p[WH_POOL_STRIDE_W], 1, p[WH_POOL_PAD_LEFT], (uint32_t)p[WH_POOL_FILTER_W],
                   x->dims[2], y->dims[2]) ||
        (int64_t)p[WH_POOL_FILTER_H] * p[WH_POOL_FILTER_W] > wh_count_max(s)) {
        return WH_ERR_PARAM;
    }
    return wh_check_activation(s, WH_POOL_ACT_MIN);
}

/* One axis: no output coordinate leaves 32 bits. */
static int is_scatter(int32_t stride, int32_t pad, uint32_t taps, uint32_t out)
{
    return wh_is_in(stride, 1, 65535) && taps <= TAPS_MAX && pad >= 0 && (uint32_t)pad < taps &&
           out <= COORDINATE_MAX;
}

int wh_check_transpose_conv(const wh_subject *s)
{
    const wh_tensor *w = wh_subject_operand(s, WH_WEIGHTS);
    const wh_tensor *y = s->output;
    const int32_t *p = s->params;
    if (!wh_is_image_pair(s) || w->rank != 4 || w->dims[0] != y->dims[3] ||
        w->dims[3] != wh_subject_operand(s, WH_X)->dims[3] || w->size / w->dims[0] > TAPS_MAX) {
        return WH_ERR_SHAPE;
    }
    int status = check_channels(s, w->dims[0]);
    if (status != WH_OK) {
        return status;
    }
    int is_sound =
        is_scatter(p[WH_SCATTER_STRIDE_H], p[WH_SCATTER_PAD_TOP], w->dims[1], y->dims[1]) &&
        is_scatter(p[WH_SCATTER_STRIDE_W], p[WH_SCATTER_PAD_LEFT], w->dims[2], y->dims[2]);
    return is_sound ? wh_check_activation(s, WH_SCATTER_ACT_MIN) : WH_ERR_PARAM;
}
