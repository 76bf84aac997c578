/* A tensor's shape seen with five axes, and walks over it. */

#ifndef WHERRY_KERNELS_SHAPE_H
#define WHERRY_KERNELS_SHAPE_H

#include "wherry/program.h"

typedef struct {
    int32_t dims[WH_RANK_MAX];      /* leading ones in front */
    intptr_t strides[WH_RANK_MAX];  /* elements */
} wh_shape;

/* Dense strides, the last axis contiguous. */
static inline wh_shape wh_shape_of(const wh_tensor *tensor)
{
    wh_shape shape;
    uint32_t missing = WH_RANK_MAX - tensor->rank;
    intptr_t stride = 1;
    for (uint32_t i = WH_RANK_MAX; i-- > 0;) {
        shape.dims[i] = i < missing ? 1 : (int32_t)tensor->dims[i - missing];
        shape.strides[i] = stride;
        stride *= shape.dims[i];
    }
    return shape;
}

/* The same, with stride 0 along axes of one element, so that it broadcasts. */
static inline wh_shape wh_broadcast_shape_of(const wh_tensor *tensor)
{
    wh_shape shape = wh_shape_of(tensor);
    for (uint32_t i = 0; i < WH_RANK_MAX; i++) {
        if (shape.dims[i] == 1) {
            shape.strides[i] = 0;
        }
    }
    return shape;
}

/* Advances a position over the first `axes` axes, the last of them fastest. 0 after the end. */
static inline int wh_next(const int32_t *dims, uint32_t axes, int32_t *position)
{
    for (uint32_t i = axes; i-- > 0;) {
        if (++position[i] < dims[i]) {
            return 1;
        }
        position[i] = 0;
    }
    return 0;
}

static inline intptr_t wh_offset(const wh_shape *shape, uint32_t axes, const int32_t *position)
{
    intptr_t offset = 0;
    for (uint32_t i = 0; i < axes; i++) {
        offset += shape->strides[i] * position[i];
    }
    return offset;
}

#endif
