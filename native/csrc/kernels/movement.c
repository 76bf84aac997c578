/* CONCATENATION, PAD and RESHAPE: bytes move, values stay. */

#include <string.h>

#include "../core/layout.h"
#include "kernels.h"
#include "shape.h"

/* Bytes from `axis` on: what is contiguous when everything in front of it is fixed. */
static size_t bytes_from(const wh_tensor *tensor, uint32_t axis)
{
    size_t bytes = (size_t)wh_element_bytes(tensor);
    for (uint32_t i = axis; i < tensor->rank; i++) {
        bytes *= tensor->dims[i];
    }
    return bytes;
}

void wh_concatenation(const wh_call *call)
{
    uint32_t axis = (uint32_t)call->node->params[WH_CONCATENATION_AXIS];
    size_t out_step = bytes_from(wh_result(call), axis);
    size_t repeats = wh_result(call)->size / out_step;
    int8_t *column = wh_result_int8(call);
    for (uint32_t i = 0; i < call->node->operand_count; i++) {
        size_t step = bytes_from(wh_operand(call, i), axis);
        const int8_t *from = wh_operand_int8(call, i);
        int8_t *to = column;
        for (size_t r = 0; r < repeats; r++, from += step, to += out_step) {
            memcpy(to, from, step);
        }
        column += step;
    }
}

static void fill(const wh_call *call, int32_t value)
{
    const wh_tensor *y = wh_result(call);
    if (y->dtype == WH_INT8) {
        memset(wh_result_int8(call), (int)(uint8_t)value, y->size);
        return;
    }
    int16_t *to = wh_result_int16(call);
    for (uint32_t i = 0; i < y->size / sizeof *to; i++) {
        to[i] = (int16_t)value;
    }
}

void wh_pad(const wh_call *call)
{
    const wh_tensor *x = wh_operand(call, 0);
    const int32_t *p = call->node->params;
    wh_shape in = wh_shape_of(x);
    wh_shape out = wh_shape_of(wh_result(call));
    const uint32_t outer = WH_RANK_MAX - 1;
    const uint32_t missing = WH_RANK_MAX - x->rank;
    const intptr_t width = wh_element_bytes(x);
    int8_t *corner = wh_result_int8(call);
    fill(call, p[WH_PAD_VALUE]);
    for (uint32_t i = missing; i < WH_RANK_MAX; i++) {
        corner += out.strides[i] * p[WH_PAD_BEFORE + i - missing] * width;
    }
    const int8_t *from = wh_operand_int8(call, 0);
    const intptr_t row = in.dims[outer] * width;
    int32_t position[WH_RANK_MAX] = {0};
    do {
        memcpy(corner + wh_offset(&out, outer, position) * width, from, (size_t)row);
        from += row;
    } while (wh_next(in.dims, outer, position));
}

void wh_reshape(const wh_call *call)
{
    const void *from = wh_bytes(call, wh_operand(call, 0));
    void *to = wh_result_int8(call);
    if (to != from) {
        memcpy(to, from, wh_result(call)->size);
    }
}
