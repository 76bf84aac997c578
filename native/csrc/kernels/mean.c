/* MEAN over any set of axes; 1/count is in the multiplier. */

#include "../core/layout.h"
#include "kernels.h"
#include "rescale.h"
#include "shape.h"

/* Bit i of the result: axis i of the five-axis view is reduced. */
static uint32_t extended_mask(const wh_tensor *x, int32_t mask)
{
    return (uint32_t)mask << (WH_RANK_MAX - x->rank);
}

static int32_t sum_at(const void *x, int is_wide, intptr_t corner, const wh_shape *shape,
                      const int32_t *reduced_dims)
{
    int32_t sum = 0;
    int32_t position[WH_RANK_MAX] = {0};
    do {
        sum += wh_element(x, is_wide, corner + wh_offset(shape, WH_RANK_MAX, position));
    } while (wh_next(reduced_dims, WH_RANK_MAX, position));
    return sum;
}

void wh_mean(const wh_call *call)
{
    const wh_tensor *x = wh_operand(call, 0);
    const wh_tensor *y = wh_result(call);
    const int32_t *p = call->node->params;
    wh_shape shape = wh_shape_of(x);
    uint32_t mask = extended_mask(x, p[WH_MEAN_AXIS_MASK]);
    int32_t kept[WH_RANK_MAX];
    int32_t reduced[WH_RANK_MAX];
    int32_t count = 1;
    for (uint32_t i = 0; i < WH_RANK_MAX; i++) {
        int is_reduced = (mask >> i & 1) != 0;
        kept[i] = is_reduced ? 1 : shape.dims[i];
        reduced[i] = is_reduced ? shape.dims[i] : 1;
        count *= reduced[i];
    }
    const void *in = wh_bytes(call, x);
    const int is_wide = x->dtype == WH_INT16;
    const int32_t low = is_wide ? INT16_MIN : INT8_MIN;
    const int32_t high = is_wide ? INT16_MAX : INT8_MAX;
    intptr_t out = 0;
    int32_t position[WH_RANK_MAX] = {0};
    do {
        intptr_t corner = wh_offset(&shape, WH_RANK_MAX, position);
        int32_t sum = sum_at(in, is_wide, corner, &shape, reduced) - count * x->zero_point;
        int32_t value = wh_rescale(sum, p[WH_MEAN_MULTIPLIER], p[WH_MEAN_SHIFT]);
        wh_store(wh_result_int8(call), is_wide, out++,
                 wh_to_int16(value, y->zero_point, low, high));
    } while (wh_next(kept, WH_RANK_MAX, position));
}
