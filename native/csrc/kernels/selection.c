/* TRANSPOSE, STRIDED_SLICE, GATHER, RESIZE_NEAREST and ARG_MAX: which elements. */

#include <string.h>

#include "../core/layout.h"
#include "kernels.h"
#include "rescale.h"
#include "shape.h"

/* Writes the elements of x that a walk visits, one after another. */
static void copy_walk(const wh_call *call, const wh_shape *walk, intptr_t first)
{
    const void *x = wh_bytes(call, wh_operand(call, 0));
    void *y = wh_result_int8(call);
    const int is_wide = wh_result(call)->dtype == WH_INT16;
    const uint32_t outer = WH_RANK_MAX - 1;
    int32_t position[WH_RANK_MAX] = {0};
    intptr_t to = 0;
    do {
        intptr_t from = first + wh_offset(walk, outer, position);
        for (int32_t i = 0; i < walk->dims[outer]; i++) {
            wh_store(y, is_wide, to++, wh_element(x, is_wide, from + i * walk->strides[outer]));
        }
    } while (wh_next(walk->dims, outer, position));
}

void wh_transpose(const wh_call *call)
{
    const int32_t *from = call->node->params + WH_TRANSPOSE_FROM;
    wh_shape in = wh_shape_of(wh_operand(call, 0));
    wh_shape walk = in;
    const uint32_t missing = WH_RANK_MAX - wh_result(call)->rank;
    for (uint32_t i = missing; i < WH_RANK_MAX; i++) {
        uint32_t axis = missing + (uint32_t)from[i - missing];
        walk.dims[i] = in.dims[axis];
        walk.strides[i] = in.strides[axis];
    }
    copy_walk(call, &walk, 0);
}

void wh_strided_slice(const wh_call *call)
{
    const int32_t *p = call->node->params;
    wh_shape walk = wh_shape_of(wh_operand(call, 0));
    const uint32_t missing = WH_RANK_MAX - wh_operand(call, 0)->rank;
    intptr_t first = 0;
    for (uint32_t i = missing; i < WH_RANK_MAX; i++) {
        first += walk.strides[i] * p[WH_SLICE_BEGIN + i - missing];
        walk.dims[i] = p[WH_SLICE_EXTENT + i - missing];
        walk.strides[i] *= p[WH_SLICE_STEP + i - missing];
    }
    copy_walk(call, &walk, first);
}

/* Elements behind an axis: what is contiguous at one position of it. */
static intptr_t elements_behind(const wh_tensor *x, uint32_t axis)
{
    intptr_t count = 1;
    for (uint32_t i = axis + 1; i < x->rank; i++) {
        count *= wh_dim(x, i);
    }
    return count;
}

void wh_gather(const wh_call *call)
{
    const wh_tensor *x = wh_operand(call, 0);
    const int32_t *indices = wh_operand_int32(call, 1);
    const uint32_t axis = (uint32_t)call->node->params[WH_GATHER_AXIS];
    const uint32_t count = wh_operand(call, 1)->size / (uint32_t)sizeof *indices;
    const intptr_t step = elements_behind(x, axis) * wh_element_bytes(x);
    const int8_t *from = wh_bytes(call, x);
    const int8_t *end = from + x->size;
    int8_t *y = wh_result_int8(call);
    for (; from < end; from += step * wh_dim(x, axis)) {
        for (uint32_t i = 0; i < count; i++, y += step) {
            memcpy(y, from + step * wh_clamp(indices[i], 0, wh_dim(x, axis) - 1), (size_t)step);
        }
    }
}

void wh_resize_nearest(const wh_call *call)
{
    const wh_tensor *x = wh_operand(call, 0);
    const wh_tensor *out = wh_result(call);
    const int32_t *rows = wh_operand_int32(call, 1);
    const int32_t *columns = wh_operand_int32(call, 2);
    const intptr_t pixel = (intptr_t)wh_dim(x, 3) * wh_element_bytes(x);
    const int8_t *from = wh_bytes(call, x);
    int8_t *y = wh_result_int8(call);
    for (int32_t b = 0; b < wh_dim(x, 0); b++) {
        for (int32_t oy = 0; oy < wh_dim(out, 1); oy++) {
            const int8_t *row = from + (intptr_t)rows[oy] * wh_dim(x, 2) * pixel;
            for (int32_t ox = 0; ox < wh_dim(out, 2); ox++, y += pixel) {
                memcpy(y, row + columns[ox] * pixel, (size_t)pixel);
            }
        }
        from += (intptr_t)wh_dim(x, 1) * wh_dim(x, 2) * pixel;
    }
}

void wh_arg_max(const wh_call *call)
{
    const wh_tensor *x = wh_operand(call, 0);
    const void *values = wh_bytes(call, x);
    const int is_wide = x->dtype == WH_INT16;
    const uint32_t axis = (uint32_t)call->node->params[WH_ARG_MAX_AXIS];
    const intptr_t inner = elements_behind(x, axis);
    const intptr_t block = inner * wh_dim(x, axis);
    const intptr_t count = (intptr_t)x->size / wh_element_bytes(x);
    int32_t *y = (void *)wh_result_int8(call);
    for (intptr_t first = 0; first < count; first += block) {
        for (intptr_t at = first; at < first + inner; at++) {
            int32_t best = 0;
            for (int32_t k = 1; k < wh_dim(x, axis); k++) {
                best = wh_element(values, is_wide, at + k * inner) >
                               wh_element(values, is_wide, at + best * inner)
                           ? k
                           : best;
            }
            *y++ = best;
        }
    }
}
