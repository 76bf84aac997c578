/* What turns a sum of 16-bit activations and 8-bit weights into an output.
 *
 * With rule W the bias has 64 bits and so has the accumulator; the loader bounds both below 2^47.
 * With rule D the bias has 32 bits and the accumulator wraps there. */

#ifndef WHERRY_KERNELS_WIDE_H
#define WHERRY_KERNELS_WIDE_H

#include "../core/call.h"
#include "../core/layout.h"
#include "rescale.h"

typedef struct {
    const wh_call *call;
    const int8_t *w;
    const int32_t *m, *s;
    int32_t act_min, act_max;
    int is_wide;
} wh_wide_layer;

static inline wh_wide_layer wh_describe_wide(const wh_call *call, const int32_t *act)
{
    wh_wide_layer l = {
        .call = call,
        .w = wh_operand_int8(call, WH_WEIGHTS),
        .m = wh_operand_int32(call, WH_MULTIPLIER),
        .s = wh_operand_int32(call, WH_SHIFT),
        .act_min = act[0],
        .act_max = act[1],
        .is_wide = call->node->rounding == WH_ROUNDING_W,
    };
    return l;
}

static inline int16_t wh_finish_wide(const wh_wide_layer *l, int32_t channel, int64_t sum)
{
    const void *bias = wh_bytes(l->call, wh_operand(l->call, WH_BIAS));
    if (l->is_wide) {
        int64_t acc = sum + ((const int64_t *)bias)[channel];
        int64_t value = wh_rescale_wide(acc, l->m[channel], l->s[channel]);
        return (int16_t)(value < l->act_min ? l->act_min : value > l->act_max ? l->act_max : value);
    }
    int32_t acc = wh_wrapping_add((int32_t)(uint32_t)(uint64_t)sum,
                                  ((const int32_t *)bias)[channel]);
    return wh_to_int16(wh_rescale(acc, l->m[channel], l->s[channel]), 0, l->act_min, l->act_max);
}

#endif
