/* Nodes that compute each element from those at the same place, or from a row or a mean of them. */

#include "node_checks.h"

/* Rows of a softmax: a sum of Q12.19 exponentials fits 31 bits. */
#define SOFTMAX_DEPTH_MAX 4095
/* The same of Q0.15 exponentials. */
#define SOFTMAX_DEPTH_MAX_16 65535

int wh_check_mean(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, 0);
    int32_t mask = s->params[WH_MEAN_AXIS_MASK];
    if (!wh_is_as_wide(s, x)) {
        return WH_ERR_SHAPE;
    }
    if (!wh_is_in(mask, 0, (1 << x->rank) - 1)) {
        return WH_ERR_PARAM;
    }
    uint32_t kept = 1;
    for (uint32_t i = 0; i < x->rank; i++) {
        kept *= (mask >> i & 1) != 0 ? 1 : x->dims[i];
    }
    if (kept != wh_elements(s->output) || wh_elements(x) / kept > wh_count_max(s)) {
        return WH_ERR_SHAPE;
    }
    return wh_check_rescale(s->params[WH_MEAN_MULTIPLIER], s->params[WH_MEAN_SHIFT], 30);
}

/* The dim of axis `i` counted from the last one; 1 in front of the first. */
static uint32_t wh_dim_from_end(const wh_tensor *t, uint32_t i)
{
    return i < t->rank ? t->dims[t->rank - 1 - i] : 1;
}

static int check_broadcast(const wh_subject *s, uint8_t dtype_b)
{
    const wh_tensor *a = wh_subject_operand(s, 0);
    const wh_tensor *b = wh_subject_operand(s, 1);
    if (!wh_is_as_wide(s, a) || b->dtype != dtype_b) {
        return WH_ERR_SHAPE;
    }
    for (uint32_t i = 0; i < WH_RANK_MAX; i++) {
        uint32_t dim_a = wh_dim_from_end(a, i);
        uint32_t dim_b = wh_dim_from_end(b, i);
        uint32_t expected = dim_a == 1 ? dim_b : dim_a;
        if ((dim_b != 1 && dim_b != expected) || wh_dim_from_end(s->output, i) != expected) {
            return WH_ERR_SHAPE;
        }
    }
    return WH_OK;
}

int wh_check_sum(const wh_subject *s)
{
    const int32_t *p = s->params;
    int status = check_broadcast(s, s->output->dtype);
    if (status != WH_OK) {
        return status;
    }
    /* At most 255 << 22, or 65535 << 15: the shifted operands fit 32 bits; their sum wraps. */
    if (!wh_is_in(p[WH_SUM_LEFT_SHIFT], 0, wh_is_wide(s) ? 15 : 22) ||
        wh_check_rescale(p[WH_SUM_MULTIPLIER_A], p[WH_SUM_SHIFT_A], 0) != WH_OK ||
        wh_check_rescale(p[WH_SUM_MULTIPLIER_B], p[WH_SUM_SHIFT_B], 0) != WH_OK ||
        wh_check_rescale(p[WH_SUM_MULTIPLIER], p[WH_SUM_SHIFT], 30) != WH_OK) {
        return WH_ERR_PARAM;
    }
    return wh_check_activation(s, WH_SUM_ACT_MIN);
}

static int check_rescale_params(const wh_subject *s)
{
    const int32_t *p = s->params;
    int status = wh_check_rescale(p[WH_RESCALE_MULTIPLIER], p[WH_RESCALE_SHIFT], 30);
    return status != WH_OK ? status : wh_check_activation(s, WH_RESCALE_ACT_MIN);
}

int wh_check_mul(const wh_subject *s)
{
    int status = check_broadcast(s, s->output->dtype);
    return status != WH_OK ? status : check_rescale_params(s);
}

static int check_unary(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, 0);
    return wh_is_as_wide(s, x) && wh_have_equal_shapes(x, s->output) ? WH_OK : WH_ERR_SHAPE;
}

/* RELU, RELU6 and QUANTIZE may change the width. */
int wh_check_requantize(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, 0);
    if ((x->dtype != WH_INT8 && x->dtype != WH_INT16) || !wh_have_equal_shapes(x, s->output)) {
        return WH_ERR_SHAPE;
    }
    return check_rescale_params(s);
}

int wh_check_lookup(const wh_subject *s)
{
    int is_table = wh_is_wide(s) ? wh_vector(s, 1, WH_INT16, 513) != NULL
                              : wh_vector(s, 1, WH_INT8, 256) != NULL;
    return is_table ? check_unary(s) : WH_ERR_SHAPE;
}

int wh_check_sigmoid(const wh_subject *s)
{
    int32_t m = s->params[WH_SIGMOID_MULTIPLIER];
    int32_t shift = s->params[WH_SIGMOID_SHIFT];
    if (wh_vector(s, 1, wh_is_wide(s) ? WH_INT16 : WH_INT8, 256) == NULL) {
        return WH_ERR_SHAPE;
    }
    /* 32768 * 65535 fits 32 bits. */
    if (!wh_is_in(m, 0, wh_is_wide(s) ? 65535 : 0) || !wh_is_in(shift, 0, wh_is_wide(s) ? 31 : 0)) {
        return WH_ERR_PARAM;
    }
    return check_unary(s);
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

static int check_softmax_16(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, 0);
    const int32_t *p = s->params;
    const int16_t *exponentials = wh_vector(s, 1, WH_INT16, 513);
    if (exponentials == NULL || wh_vector(s, 2, WH_INT16, 513) == NULL || x->rank < 1 ||
        check_unary(s) != WH_OK || x->dims[x->rank - 1] > SOFTMAX_DEPTH_MAX_16) {
        return WH_ERR_SHAPE;
    }
    if (p[WH_SOFTMAX_DIFF_MIN] != 0 ||
        wh_check_rescale(p[WH_SOFTMAX_MULTIPLIER], p[WH_SOFTMAX_LEFT_SHIFT], 30) != WH_OK) {
        return WH_ERR_PARAM;
    }
    return check_exponentials(exponentials);
}

int wh_check_softmax(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, 0);
    const int32_t *p = s->params;
    if (s->node->operand_count != (wh_is_wide(s) ? 3 : 1)) {
        return WH_ERR_OPERATOR;
    }
    if (wh_is_wide(s)) {
        return check_softmax_16(s);
    }
    if (x->rank < 1 || check_unary(s) != WH_OK || x->dims[x->rank - 1] > SOFTMAX_DEPTH_MAX) {
        return WH_ERR_SHAPE;
    }
    int32_t shift = p[WH_SOFTMAX_LEFT_SHIFT];
    int32_t lowest = p[WH_SOFTMAX_DIFF_MIN] < -255 ? -255 : p[WH_SOFTMAX_DIFF_MIN];
    int is_sound = p[WH_SOFTMAX_MULTIPLIER] >= 0 && wh_is_in(shift, 0, 30) && lowest <= 0 &&
                   (int64_t)-lowest * ((int64_t)1 << shift) <= (int64_t)31 << 26;
    return is_sound ? WH_OK : WH_ERR_PARAM;
}

int wh_check_div(const wh_subject *s)
{
    return wh_check_mul(s);
}

static int check_slopes(const wh_subject *s)
{
    const int32_t *p = s->params;
    int status = wh_check_rescale(p[WH_SLOPE_MULTIPLIER], p[WH_SLOPE_SHIFT], 30);
    return status != WH_OK
               ? status
               : wh_check_rescale(p[WH_SLOPE_MULTIPLIER_ALPHA], p[WH_SLOPE_SHIFT_ALPHA], 30);
}

int wh_check_leaky_relu(const wh_subject *s)
{
    int status = check_unary(s);
    return status != WH_OK ? status : check_slopes(s);
}

/* The slopes have 8 bits with either width of x. */
int wh_check_prelu(const wh_subject *s)
{
    int status = check_broadcast(s, WH_INT8);
    return status != WH_OK ? status : check_slopes(s);
}

int wh_check_arg_max(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, 0);
    int32_t axis = s->params[WH_ARG_MAX_AXIS];
    if (x->dtype != WH_INT8 && x->dtype != WH_INT16) {
        return WH_ERR_SHAPE;
    }
    if (!wh_is_in(axis, 0, (int32_t)x->rank - 1)) {
        return WH_ERR_PARAM;
    }
    return wh_elements(x) / x->dims[axis] == wh_elements(s->output) ? WH_OK : WH_ERR_SHAPE;
}
