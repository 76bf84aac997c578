/* Nodes that move elements without changing them. */

#include "node_checks.h"

static int is_alike_but_for_axis(const wh_tensor *a, const wh_tensor *b, uint32_t axis)
{
    int is_alike = a->rank == b->rank && a->dtype == b->dtype;
    for (uint32_t i = 0; i < b->rank; i++) {
        is_alike = is_alike && (i == axis || a->dims[i] == b->dims[i]);
    }
    return is_alike;
}

int wh_check_concatenation(const wh_subject *s)
{
    int32_t axis = s->params[WH_CONCATENATION_AXIS];
    if (!wh_is_in(axis, 0, (int32_t)s->output->rank - 1)) {
        return WH_ERR_PARAM;
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->node->operand_count; i++) {
        if (!is_alike_but_for_axis(wh_subject_operand(s, i), s->output, (uint32_t)axis)) {
            return WH_ERR_SHAPE;
        }
        if (wh_subject_operand(s, i)->zero_point != s->output->zero_point) {
            return WH_ERR_PARAM;
        }
        sum += wh_subject_operand(s, i)->dims[axis];
    }
    return sum == s->output->dims[axis] ? WH_OK : WH_ERR_SHAPE;
}

int wh_check_pad(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, 0);
    if (x->rank != s->output->rank || !wh_is_as_wide(s, x)) {
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
    int is_level = wh_is_wide(s) ? wh_is_in(value, INT16_MIN, INT16_MAX)
                              : wh_is_in(value, INT8_MIN, INT8_MAX);
    return is_level ? WH_OK : WH_ERR_PARAM;
}

int wh_check_reshape(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, 0);
    return wh_is_as_wide(s, x) && x->size == s->output->size ? WH_OK : WH_ERR_SHAPE;
}

int wh_check_transpose(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, 0);
    if (!wh_is_as_wide(s, x) || x->rank != s->output->rank) {
        return WH_ERR_SHAPE;
    }
    uint32_t seen = 0;
    for (uint32_t i = 0; i < WH_RANK_MAX; i++) {
        int32_t from = s->params[WH_TRANSPOSE_FROM + i];
        if (i >= x->rank ? from != 0 : !wh_is_in(from, 0, (int32_t)x->rank - 1)) {
            return WH_ERR_PARAM;
        }
        if (i < x->rank && s->output->dims[i] != x->dims[from]) {
            return WH_ERR_SHAPE;
        }
        seen |= i < x->rank ? 1u << from : 0;
    }
    return seen == (1u << x->rank) - 1 ? WH_OK : WH_ERR_PARAM;
}

/* Every position of the slice lies within its axis, so that no extent exceeds the dim. A step that
 * is never taken is 1: strides times steps fit a pointer. */
int wh_check_strided_slice(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, 0);
    uint32_t count = 1;
    if (!wh_is_as_wide(s, x)) {
        return WH_ERR_SHAPE;
    }
    for (uint32_t i = 0; i < WH_RANK_MAX; i++) {
        int32_t begin = s->params[WH_SLICE_BEGIN + i];
        int32_t extent = s->params[WH_SLICE_EXTENT + i];
        int32_t step = s->params[WH_SLICE_STEP + i];
        if (i >= x->rank) {
            if (begin != 0 || extent != 0 || step != 0) {
                return WH_ERR_PARAM;
            }
            continue;
        }
        int64_t dim = x->dims[i];
        int64_t last = begin + ((int64_t)extent - 1) * step;
        if (begin < 0 || begin >= dim || extent < 1 || step == 0 || last < 0 || last >= dim ||
            (extent == 1 && step != 1)) {
            return WH_ERR_PARAM;
        }
        count *= (uint32_t)extent;
    }
    return count == wh_elements(s->output) ? WH_OK : WH_ERR_SHAPE;
}

/* Indices may come from anywhere: the kernel keeps them within the axis. */
int wh_check_gather(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, 0);
    const wh_tensor *indices = wh_subject_operand(s, 1);
    int32_t axis = s->params[WH_GATHER_AXIS];
    if (!wh_is_as_wide(s, x) || indices->dtype != WH_INT32) {
        return WH_ERR_SHAPE;
    }
    if (!wh_is_in(axis, 0, (int32_t)x->rank - 1)) {
        return WH_ERR_PARAM;
    }
    uint64_t count = (uint64_t)(wh_elements(x) / x->dims[axis]) * wh_elements(indices);
    return count == wh_elements(s->output) ? WH_OK : WH_ERR_SHAPE;
}

static int are_within(const int32_t *sources, uint32_t count, uint32_t size)
{
    int is_sound = 1;
    for (uint32_t i = 0; i < count; i++) {
        is_sound = is_sound && sources[i] >= 0 && (uint32_t)sources[i] < size;
    }
    return is_sound;
}

int wh_check_resize_nearest(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, 0);
    const wh_tensor *y = s->output;
    if (!wh_is_image_pair(s) || x->dims[3] != y->dims[3]) {
        return WH_ERR_SHAPE;
    }
    const int32_t *rows = wh_vector(s, 1, WH_INT32, y->dims[1]);
    const int32_t *columns = wh_vector(s, 2, WH_INT32, y->dims[2]);
    if (rows == NULL || columns == NULL) {
        return WH_ERR_SHAPE;
    }
    int is_sound = are_within(rows, y->dims[1], x->dims[1]) &&
                   are_within(columns, y->dims[2], x->dims[2]);
    return is_sound ? WH_OK : WH_ERR_PARAM;
}
