/* FULLY_CONNECTED of one row: 32 channels at a time, by bytes or by 16-bit values. */

#ifndef WHERRY_KERNELS_DENSE_AVX2_H
#define WHERRY_KERNELS_DENSE_AVX2_H

#include "finish_avx2.h"
#include "kernels_avx2.h"

#define WH_DENSE_CHANNELS 32  /* two blocks */

/* Sums of the channels from `first` on, of `outputs` in all, to y[first] … */
WH_INLINE void wh_dense_finish(const wh_finishing *f, const wh_block *blocks,
                               const __m256i (*sums)[2], int8_t *y, int32_t first,
                               int32_t outputs)
{
    for (int half = 0; half < 2 && first < outputs; half++, first += WH_BLOCK) {
        wh_finish_rows_avx2(f, blocks + half, sums + half, 1, y + first, 0, outputs - first);
    }
}

static inline int wh_has_one_row(const wh_program *program, const wh_node *node)
{
    int32_t inputs = wh_dim(wh_operand_of(program, node, WH_WEIGHTS), 1);
    return (int32_t)wh_operand_of(program, node, WH_X)->size == inputs;
}

#endif
