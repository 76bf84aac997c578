/* What the checks of single nodes have in common: the node with its tensors, and small questions
 * about them. */

#ifndef WHERRY_CORE_SUBJECT_H
#define WHERRY_CORE_SUBJECT_H

#include "call.h"
#include "layout.h"

/* Taps of one output: their sum fits 32 bits, since |x - zero| |w| <= 255 * 128. */
#define TAPS_MAX 65536
/* Elements of one mean or pool: their sum, less count * zero, fits 32 bits. */
#define MEAN_COUNT_MAX (1 << 22)
#define MEAN_COUNT_MAX_16 (1 << 15)
/* Coordinates that a window may reach. */
#define COORDINATE_MAX (1 << 28)

typedef struct {
    const wh_program *program;
    const wh_node *node;
    const wh_tensor *output;
    const int32_t *params;
} wh_subject;

typedef int (*check)(const wh_subject *s);

static inline const wh_tensor *wh_subject_operand(const wh_subject *s, uint32_t index)
{
    return wh_operand_of(s->program, s->node, index);
}

/* An activation of the width that the output has. */
static inline int wh_is_as_wide(const wh_subject *s, const wh_tensor *t)
{
    return t->dtype == s->output->dtype;
}

static inline int wh_is_wide(const wh_subject *s)
{
    return s->output->dtype == WH_INT16;
}

static inline int wh_is_in(int32_t value, int32_t low, int32_t high)
{
    return value >= low && value <= high;
}

static inline int wh_has_shape(const wh_tensor *t, uint32_t rank, const uint32_t *dims)
{
    int is_equal = t->rank == rank;
    for (uint32_t i = 0; i < rank; i++) {
        is_equal = is_equal && t->dims[i] == dims[i];
    }
    return is_equal;
}

static inline uint32_t wh_elements(const wh_tensor *t)
{
    return t->size / (uint32_t)wh_element_bytes(t);
}

static inline int wh_have_equal_shapes(const wh_tensor *a, const wh_tensor *b)
{
    return wh_has_shape(a, b->rank, b->dims);
}

static inline int wh_check_activation(const wh_subject *s, uint32_t at)
{
    const int32_t *params = s->params;
    int32_t lowest = wh_is_wide(s) ? INT16_MIN : INT8_MIN;
    int32_t highest = wh_is_wide(s) ? INT16_MAX : INT8_MAX;
    int is_range = wh_is_in(params[at], lowest, highest) &&
                   wh_is_in(params[at + 1], params[at], highest);
    return is_range ? WH_OK : WH_ERR_PARAM;
}

static inline int wh_check_rescale(int32_t multiplier, int32_t shift, int32_t shift_max)
{
    return multiplier >= 0 && wh_is_in(shift, -31, shift_max) ? WH_OK : WH_ERR_PARAM;
}

/* A constant vector of `count` elements, or NULL. */
static inline const void *wh_vector(const wh_subject *s, uint32_t index, wh_dtype dtype,
                                    uint32_t count)
{
    const wh_tensor *t = wh_subject_operand(s, index);
    if (t->kind != WH_CONSTANT || t->dtype != dtype || !wh_has_shape(t, 1, &count)) {
        return NULL;
    }
    return s->program->image + t->offset;
}

/* Elements whose sum, less the zero points', fits 32 bits. */
static inline uint32_t wh_count_max(const wh_subject *s)
{
    return wh_is_wide(s) ? MEAN_COUNT_MAX_16 : MEAN_COUNT_MAX;
}

static inline int wh_is_image_pair(const wh_subject *s)
{
    const wh_tensor *x = wh_subject_operand(s, 0);
    return x->rank == 4 && s->output->rank == 4 && x->dims[0] == s->output->dims[0] &&
           wh_is_as_wide(s, x);
}

#endif
