/* One node against its tensors: what each operator demands, so that its kernel checks nothing. */

#include "call.h"
#include "check.h"
#include "layout.h"

/* Taps of one output: their sum fits 32 bits, since |x - zero| |w| <= 255 * 128. */
#define TAPS_MAX 65536
/* Elements of one mean: their sum, less count * zero, fits 32 bits. */
#define MEAN_COUNT_MAX (1 << 22)
#define MEAN_COUNT_MAX_16 (1 << 15)
/* Rows of a softmax: a sum of Q12.19 exponentials fits 31 bits. */
#define SOFTMAX_DEPTH_MAX 4095
/* The same of Q0.15 exponentials. */
#define SOFTMAX_DEPTH_MAX_16 65535
/* Input coordinates that a window may reach. */
#define COORDINATE_MAX (1 << 28)

typedef struct {
    const wh_program *program;
    const wh_node *node;
    const wh_tensor *output;
    const int32_t *params;
} subject;

typedef int (*check)(const subject *s);

static const wh_tensor *operand(const subject *s, uint32_t index)
{
    return wh_operand_of(s->program, s->node, index);
}

/* An activation of the width that the output has. */
static int is_as_wide(const subject *s, const wh_tensor *t)
{
    return t->dtype == s->output->dtype;
}

static int is_wide(const subject *s)
{
    return s->output->dtype == WH_INT16;
}

static int is_in(int32_t value, int32_t low, int32_t high)
{
    return value >= low && value <= high;
}

static int has_shape(const wh_tensor *t, uint32_t rank, const uint32_t *dims)
{
    int is_equal = t->rank == rank;
    for (uint32_t i = 0; i < rank; i++) {
        is_equal = is_equal && t->dims[i] == dims[i];
    }
    return is_equal;
}

static uint32_t elements(const wh_tensor *t)
{
    return t->size / (uint32_t)wh_element_bytes(t);
}

static int have_equal_shapes(const wh_tensor *a, const wh_tensor *b)
{
    return has_shape(a, b->rank, b->dims);
}

static int check_activation(const subject *s, uint32_t at)
{
    const int32_t *params = s->params;
    int32_t lowest = is_wide(s) ? INT16_MIN : INT8_MIN;
    int32_t highest = is_wide(s) ? INT16_MAX : INT8_MAX;
    int is_range = is_in(params[at], lowest, highest) &&
                   is_in(params[at + 1], params[at], highest);
    return is_range ? WH_OK : WH_ERR_PARAM;
}

static int check_rescale(int32_t multiplier, int32_t shift, int32_t shift_max)
{
    return multiplier >= 0 && is_in(shift, -31, shift_max) ? WH_OK : WH_ERR_PARAM;
}

/* A constant vector of `count` elements, or NULL. */
static const void *vector(const subject *s, uint32_t index, wh_dtype dtype, uint32_t count)
{
    const wh_tensor *t = operand(s, index);
    if (t->kind != WH_CONSTANT || t->dtype != dtype || !has_shape(t, 1, &count)) {
        return NULL;
    }
    return s->program->image + t->offset;
}

/* 64-bit biases leave the sum within 2^47. */
static int check_bias(const subject *s, uint32_t channels)
{
    const int64_t limit = (int64_t)1 << 46;
    if (s->node->rounding != WH_ROUNDING_W) {
        return vector(s, WH_BIAS, WH_INT32, channels) != NULL ? WH_OK : WH_ERR_SHAPE;
    }
    const int64_t *bias = vector(s, WH_BIAS, WH_INT64, channels);
    if (bias == NULL || !is_wide(s)) {
        return WH_ERR_SHAPE;
    }
    for (uint32_t i = 0; i < channels; i++) {
        if (bias[i] < -limit || bias[i] > limit) {
            return WH_ERR_PARAM;
        }
    }
    return WH_OK;
}

/* Weights, bias, multipliers and shifts of an operator with `channels` outputs. */
static int check_channels(const subject *s, uint32_t channels)
{
    const wh_tensor *weights = operand(s, WH_WEIGHTS);
    const int32_t *m = vector(s, WH_MULTIPLIER, WH_INT32, channels);
    const int32_t *shift = vector(s, WH_SHIFT, WH_INT32, channels);
    if (weights->kind != WH_CONSTANT || weights->dtype != WH_INT8 ||
        !is_as_wide(s, operand(s, WH_X)) || m == NULL || shift == NULL) {
        return WH_ERR_SHAPE;
    }
    if (weights->zero_point != 0) {
        return WH_ERR_PARAM;
    }
    int32_t shift_max = s->node->rounding == WH_ROUNDING_W ? 7 : 30;
    for (uint32_t i = 0; i < channels; i++) {
        if (check_rescale(m[i], shift[i], shift_max) != WH_OK) {
            return WH_ERR_PARAM;
        }
    }
    return check_bias(s, channels);
}

/* Elements whose sum, less the zero points', fits 32 bits. */
static uint32_t count_max(const subject *s)
{
    return is_wide(s) ? MEAN_COUNT_MAX_16 : MEAN_COUNT_MAX;
}

static int check_fully_connected(const subject *s)
{
    const wh_tensor *x = operand(s, WH_X);
    const wh_tensor *w = operand(s, WH_WEIGHTS);
    if (w->rank != 2 || w->dims[1] > TAPS_MAX || elements(x) % w->dims[1] != 0 ||
        !is_as_wide(s, x) ||
        (uint64_t)(elements(x) / w->dims[1]) * w->dims[0] != elements(s->output)) {
        return WH_ERR_SHAPE;
    }
    int status = check_channels(s, w->dims[0]);
    return status != WH_OK ? status : check_activation(s, WH_FC_ACT_MIN);
}

/* One axis of a window: every field in range, and every output position sees an input element. */
static int is_window(int32_t stride, int32_t dilation, int32_t pad, uint32_t taps, uint32_t in,
                     uint32_t out)
{
    if (!is_in(stride, 1, 65535) || !is_in(dilation, 1, 65535) || taps > TAPS_MAX) {
        return 0;
    }
    int64_t reach = (int64_t)(taps - 1) * dilation;
    int64_t last = ((int64_t)out - 1) * stride - pad;
    return pad >= 0 && pad <= reach && reach <= COORDINATE_MAX && in <= COORDINATE_MAX &&
           last < (int64_t)in && last + reach <= COORDINATE_MAX;
}

static int check_windows(const subject *s, uint32_t taps_h, uint32_t taps_w)
{
    const wh_tensor *x = operand(s, WH_X);
    const int32_t *p = s->params;
    int is_sound = is_window(p[WH_CONV_STRIDE_H], p[WH_CONV_DILATION_H], p[WH_CONV_PAD_TOP], taps_h,
                             x->dims[1], s->output->dims[1]) &&
                   is_window(p[WH_CONV_STRIDE_W], p[WH_CONV_DILATION_W], p[WH_CONV_PAD_LEFT],
                             taps_w, x->dims[2], s->output->dims[2]);
    return is_sound ? check_activation(s, WH_CONV_ACT_MIN) : WH_ERR_PARAM;
}

static int is_image_pair(const subject *s)
{
    const wh_tensor *x = operand(s, 0);
    return x->rank == 4 && s->output->rank == 4 && x->dims[0] == s->output->dims[0] &&
           is_as_wide(s, x);
}

static int check_conv_2d(const subject *s)
{
    const wh_tensor *x = operand(s, WH_X);
    const wh_tensor *w = operand(s, WH_WEIGHTS);
    if (!is_image_pair(s) || w->rank != 4 || w->dims[0] != s->output->dims[3] ||
        x->dims[3] % w->dims[3] != 0 || w->dims[0] % (x->dims[3] / w->dims[3]) != 0 ||
        w->size / w->dims[0] > TAPS_MAX) {
        return WH_ERR_SHAPE;
    }
    int status = check_channels(s, w->dims[0]);
    return status != WH_OK ? status : check_windows(s, w->dims[1], w->dims[2]);
}

static int check_depthwise_conv_2d(const subject *s)
{
    const wh_tensor *x = operand(s, WH_X);
    const wh_tensor *w = operand(s, WH_WEIGHTS);
    if (!is_image_pair(s) || w->rank != 4 || w->dims[0] != 1 ||
        w->dims[3] != s->output->dims[3] || w->dims[3] % x->dims[3] != 0 ||
        w->size / w->dims[3] > TAPS_MAX) {
        return WH_ERR_SHAPE;
    }
    int status = check_channels(s, w->dims[3]);
    return status != WH_OK ? status : check_windows(s, w->dims[1], w->dims[2]);
}

static int check_pool(const subject *s)
{
    const wh_tensor *x = operand(s, 0);
    const wh_tensor *y = s->output;
    const int32_t *p = s->params;
    if (!is_image_pair(s) || x->dims[3] != y->dims[3]) {
        return WH_ERR_SHAPE;
    }
    if (!is_in(p[WH_POOL_FILTER_H], 1, TAPS_MAX) || !is_in(p[WH_POOL_FILTER_W], 1, TAPS_MAX) ||
        x->zero_point != y->zero_point ||
        !is_window(p[WH_POOL_STRIDE_H], 1, p[WH_POOL_PAD_TOP], (uint32_t)p[WH_POOL_FILTER_H],
                   x->dims[1], y->dims[1]) ||
        !is_window(p[WH_POOL_STRIDE_W], 1, p[WH_POOL_PAD_LEFT], (uint32_t)p[WH_POOL_FILTER_W],
                   x->dims[2], y->dims[2]) ||
        (int64_t)p[WH_POOL_FILTER_H] * p[WH_POOL_FILTER_W] > count_max(s)) {
        return WH_ERR_PARAM;
    }
    return check_activation(s, WH_POOL_ACT_MIN);
}

static int check_mean(const subject *s)
{
    const wh_tensor *x = operand(s, 0);
    int32_t mask = s->params[WH_MEAN_AXIS_MASK];
    if (!is_as_wide(s, x)) {
        return WH_ERR_SHAPE;
    }
    if (!is_in(mask, 0, (1 << x->rank) - 1)) {
        return WH_ERR_PARAM;
    }
    uint32_t kept = 1;
    for (uint32_t i = 0; i < x->rank; i++) {
        kept *= (mask >> i & 1) != 0 ? 1 : x->dims[i];
    }
    if (kept != elements(s->output) || elements(x) / kept > count_max(s)) {
        return WH_ERR_SHAPE;
    }
    return check_rescale(s->params[WH_MEAN_MULTIPLIER], s->params[WH_MEAN_SHIFT], 30);
}

/* The dim of axis `i` counted from the last one; 1 in front of the first. */
static uint32_t dim_from_end(const wh_tensor *t, uint32_t i)
{
    return i < t->rank ? t->dims[t->rank - 1 - i] : 1;
}

static int check_broadcast(const subject *s)
{
    const wh_tensor *a = operand(s, 0);
    const wh_tensor *b = operand(s, 1);
    if (!is_as_wide(s, a) || !is_as_wide(s, b)) {
        return WH_ERR_SHAPE;
    }
    for (uint32_t i = 0; i < WH_RANK_MAX; i++) {
        uint32_t dim_a = dim_from_end(a, i);
        uint32_t dim_b = dim_from_end(b, i);
        uint32_t expected = dim_a == 1 ? dim_b : dim_a;
        if ((dim_b != 1 && dim_b != expected) || dim_from_end(s->output, i) != expected) {
            return WH_ERR_SHAPE;
        }
    }
    return WH_OK;
}

static int check_sum(const subject *s)
{
    const int32_t *p = s->params;
    int status = check_broadcast(s);
    if (status != WH_OK) {
        return status;
    }
    /* At most 255 << 22, or 65535 << 15: the shifted operands fit 32 bits; their sum wraps. */
    if (!is_in(p[WH_SUM_LEFT_SHIFT], 0, is_wide(s) ? 15 : 22) ||
        check_rescale(p[WH_SUM_MULTIPLIER_A], p[WH_SUM_SHIFT_A], 0) != WH_OK ||
        check_rescale(p[WH_SUM_MULTIPLIER_B], p[WH_SUM_SHIFT_B], 0) != WH_OK ||
        check_rescale(p[WH_SUM_MULTIPLIER], p[WH_SUM_SHIFT], 30) != WH_OK) {
        return WH_ERR_PARAM;
    }
    return check_activation(s, WH_SUM_ACT_MIN);
}

static int check_rescale_params(const subject *s)
{
    const int32_t *p = s->params;
    int status = check_rescale(p[WH_RESCALE_MULTIPLIER], p[WH_RESCALE_SHIFT], 30);
    return status != WH_OK ? status : check_activation(s, WH_RESCALE_ACT_MIN);
}

static int check_mul(const subject *s)
{
    int status = check_broadcast(s);
    return status != WH_OK ? status : check_rescale_params(s);
}

static int check_unary(const subject *s)
{
    const wh_tensor *x = operand(s, 0);
    return is_as_wide(s, x) && have_equal_shapes(x, s->output) ? WH_OK : WH_ERR_SHAPE;
}

/* RELU, RELU6 and QUANTIZE may change the width. */
static int check_requantize(const subject *s)
{
    const wh_tensor *x = operand(s, 0);
    if ((x->dtype != WH_INT8 && x->dtype != WH_INT16) || !have_equal_shapes(x, s->output)) {
        return WH_ERR_SHAPE;
    }
    return check_rescale_params(s);
}

static int check_lookup(const subject *s)
{
    int is_table = is_wide(s) ? vector(s, 1, WH_INT16, 513) != NULL
                              : vector(s, 1, WH_INT8, 256) != NULL;
    return is_table ? check_unary(s) : WH_ERR_SHAPE;
}

static int check_sigmoid(const subject *s)
{
    int32_t m = s->params[WH_SIGMOID_MULTIPLIER];
    int32_t shift = s->params[WH_SIGMOID_SHIFT];
    if (vector(s, 1, is_wide(s) ? WH_INT16 : WH_INT8, 256) == NULL) {
        return WH_ERR_SHAPE;
    }
    /* 32768 * 65535 fits 32 bits. */
    if (!is_in(m, 0, is_wide(s) ? 65535 : 0) || !is_in(shift, 0, is_wide(s) ? 31 : 0)) {
        return WH_ERR_PARAM;
    }
    return check_unary(s);
}

static int is_alike_but_for_axis(const wh_tensor *a, const wh_tensor *b, uint32_t axis)
{
    int is_alike = a->rank == b->rank && a->dtype == b->dtype;
    for (uint32_t i = 0; i < b->rank; i++) {
        is_alike = is_alike && (i == axis || a->dims[i] == b->dims[i]);
    }
    return is_alike;
}

static int check_concatenation(const subject *s)
{
    int32_t axis = s->params[WH_CONCATENATION_AXIS];
    if (!is_in(axis, 0, (int32_t)s->output->rank - 1)) {
        return WH_ERR_PARAM;
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->node->operand_count; i++) {
        if (!is_alike_but_for_axis(operand(s, i), s->output, (uint32_t)axis)) {
            return WH_ERR_SHAPE;
        }
        if (operand(s, i)->zero_point != s->output->zero_point) {
            return WH_ERR_PARAM;
        }
        sum += operand(s, i)->dims[axis];
    }
    return sum == s->output->dims[axis] ? WH_OK : WH_ERR_SHAPE;
}

static int check_pad(const subject *s)
{
    const wh_tensor *x = operand(s, 0);
    if (x->rank != s->output->rank || !is_as_wide(s, x)) {
        return WH_ERR_SHAPE;
    }
    for (uint32_t i = 0; i < WH_RANK_MAX; i++) {
        int32_t before = s->params[WH_PAD_BEFORE + i];
        uint32_t room = s->output->dims[i] - x->dims[i];
        if (s->output->dims[i] < x->dims[i] || before < 0 || (uint32_t)before > room) {
            return WH_ERR_PARAM;
        }
    }
    int32_t value = s->params[WH_PAD_VALUE];
    int is_level = is_wide(s) ? is_in(value, INT16_MIN, INT16_MAX)
                              : is_in(value, INT8_MIN, INT8_MAX);
    return is_level ? WH_OK : WH_ERR_PARAM;
}

static int check_reshape(const subject *s)
{
    const wh_tensor *x = operand(s, 0);
    return is_as_wide(s, x) && x->size == s->output->size ? WH_OK : WH_ERR_SHAPE;
}

/* No exponential is negative, and the largest element's is at least 2: so is every sum. */
static int check_exponentials(const int16_t *table)
{
    for (uint32_t i = 0; i < 513; i++) {
        if (table[i] < (i < 511 ? 0 : 2)) {
            return WH_ERR_PARAM;
        }
    }
    return WH_OK;
}

static int check_softmax_16(const subject *s)
{
    const wh_tensor *x = operand(s, 0);
    const int32_t *p = s->params;
    const int16_t *exponentials = vector(s, 1, WH_INT16, 513);
    if (exponentials == NULL || vector(s, 2, WH_INT16, 513) == NULL || x->rank < 1 ||
        check_unary(s) != WH_OK || x->dims[x->rank - 1] > SOFTMAX_DEPTH_MAX_16) {
        return WH_ERR_SHAPE;
    }
    if (p[WH_SOFTMAX_DIFF_MIN] != 0 ||
        check_rescale(p[WH_SOFTMAX_MULTIPLIER], p[WH_SOFTMAX_LEFT_SHIFT], 30) != WH_OK) {
        return WH_ERR_PARAM;
    }
    return check_exponentials(exponentials);
}

static int check_softmax(const subject *s)
{
    const wh_tensor *x = operand(s, 0);
    const int32_t *p = s->params;
    if (s->node->operand_count != (is_wide(s) ? 3 : 1)) {
        return WH_ERR_OPERATOR;
    }
    if (is_wide(s)) {
        return check_softmax_16(s);
    }
    if (x->rank < 1 || check_unary(s) != WH_OK || x->dims[x->rank - 1] > SOFTMAX_DEPTH_MAX) {
        return WH_ERR_SHAPE;
    }
    int32_t shift = p[WH_SOFTMAX_LEFT_SHIFT];
    int32_t lowest = p[WH_SOFTMAX_DIFF_MIN] < -255 ? -255 : p[WH_SOFTMAX_DIFF_MIN];
    int is_sound = p[WH_SOFTMAX_MULTIPLIER] >= 0 && is_in(shift, 0, 30) && lowest <= 0 &&
                   (int64_t)-lowest * ((int64_t)1 << shift) <= (int64_t)31 << 26;
    return is_sound ? WH_OK : WH_ERR_PARAM;
}

#define RULE_D (1u << WH_ROUNDING_D)
#define RULE_W (1u << WH_ROUNDING_W)

/* `abi`: the first that has the operator. `roundings`: the rules that its kernels have. */
typedef struct {
    check check;
    uint8_t operands_min, operands_max, params, abi, roundings;
} rule;

static const rule rules[WH_OP_COUNT] = {
    [WH_FULLY_CONNECTED] = {check_fully_connected, 5, 5, 2, 1, RULE_D | RULE_W},
    [WH_CONV_2D] = {check_conv_2d, 5, 5, 8, 1, RULE_D | RULE_W},
    [WH_DEPTHWISE_CONV_2D] = {check_depthwise_conv_2d, 5, 5, 8, 1, RULE_D | RULE_W},
    [WH_AVERAGE_POOL_2D] = {check_pool, 1, 1, 8, 1, RULE_D},
    [WH_MAX_POOL_2D] = {check_pool, 1, 1, 8, 1, RULE_D},
    [WH_MEAN] = {check_mean, 1, 1, 3, 1, RULE_D},
    [WH_ADD] = {check_sum, 2, 2, 9, 1, RULE_D},
    [WH_SUB] = {check_sum, 2, 2, 9, 1, RULE_D},
    [WH_MUL] = {check_mul, 2, 2, 4, 1, RULE_D},
    [WH_CONCATENATION] = {check_concatenation, 1, WH_OPERANDS_MAX, 1, 1, RULE_D},
    [WH_PAD] = {check_pad, 1, 1, 6, 1, RULE_D},
    [WH_RESHAPE] = {check_reshape, 1, 1, 0, 1, RULE_D},
    [WH_SOFTMAX] = {check_softmax, 1, 3, 3, 1, RULE_D},
    [WH_LOGISTIC] = {check_sigmoid, 2, 2, 2, 1, RULE_D},
    [WH_TANH] = {check_sigmoid, 2, 2, 2, 1, RULE_D},
    [WH_RELU] = {check_requantize, 1, 1, 4, 1, RULE_D},
    [WH_RELU6] = {check_requantize, 1, 1, 4, 1, RULE_D},
    [WH_QUANTIZE] = {check_requantize, 1, 1, 4, 1, RULE_D},
    [WH_LOOKUP] = {check_lookup, 2, 2, 0, 2, RULE_D},
};

static int has_unused_params(const wh_node *node, uint32_t used)
{
    int is_used = node->reserved != 0;
    for (uint32_t i = used; i < WH_PARAM_COUNT; i++) {
        is_used = is_used || node->params[i] != 0;
    }
    return is_used;
}

/* Activations of 16 bits came with ABI 2; their zero point is 0. */
static int check_widths(const subject *s)
{
    if (s->output->dtype != WH_INT8 &&
        (s->output->dtype != WH_INT16 || s->program->header->engine_abi == 1)) {
        return WH_ERR_SHAPE;
    }
    int is_symmetric = s->output->dtype != WH_INT16 || s->output->zero_point == 0;
    for (uint32_t i = 0; i < s->node->operand_count; i++) {
        const wh_tensor *t = operand(s, i);
        is_symmetric = is_symmetric && (t->dtype != WH_INT16 || t->zero_point == 0);
    }
    return is_symmetric ? WH_OK : WH_ERR_PARAM;
}

static int has_rounding(const wh_program *program, const rule *r, uint8_t rounding)
{
    int is_old = program->header->engine_abi == 1;
    return rounding <= WH_ROUNDING_W && (r->roundings >> rounding & 1u) != 0 &&
           (!is_old || rounding == WH_ROUNDING_D);
}

int wh_check_node(const wh_program *program, uint32_t index)
{
    const wh_node *node = &program->nodes[index];
    if (node->op == 0 || node->op >= WH_OP_COUNT) {
        return WH_ERR_OPERATOR;
    }
    const rule *r = &rules[node->op];
    if (r->abi > program->header->engine_abi) {
        return WH_ERR_ENGINE_ABI;
    }
    if (node->operand_count < r->operands_min || node->operand_count > r->operands_max) {
        return WH_ERR_OPERATOR;
    }
    if (!has_rounding(program, r, node->rounding)) {
        return WH_ERR_ROUNDING;
    }
    if (has_unused_params(node, r->params)) {
        return WH_ERR_PARAM;
    }
    subject s = {program, node, &program->tensors[node->output], node->params};
    int status = check_widths(&s);
    return status != WH_OK ? status : r->check(&s);
}
