/* From 32-bit sums to outputs, 16 channels at a time: rounding rule D or F, zero point, activation.
 *
 * Rule D in vectors: v = (acc m + 2^30) >> 31 by 64-bit products of the even and of the odd
 * lanes, then y = (v + half - (v < 0)) >> right. Where every shift is to the right and nothing
 * can overflow (prepare proves that from the weights), half is added to the product, as half
 * 2^31, and acc < 0 stands for v < 0: they differ only where v = 0, and then y = 0 by both.
 * Otherwise y comes by gemmlowp's remainder and threshold, which cannot overflow.
 *
 * Rule F is what the instructions compute as long as the thread's rounding mode is the default one,
 * to nearest, as XNNPACK too takes for granted. */

#ifndef WHERRY_KERNELS_FINISH_AVX2_H
#define WHERRY_KERNELS_FINISH_AVX2_H

#include "../../core/call.h"
#include "../../core/layout.h"
#include "avx2.h"

#define WH_BLOCK 16  /* channels */
#define WH_UNSURE 8  /* units of 2^-16 around a tie where floats do not decide: finish_tile.h */

typedef enum { WH_FINISH_PLAIN = 0, WH_FINISH_GENERAL = 1, WH_FINISH_FLOAT = 2 } wh_finish_way;

/* Of one block; channels beyond the last one are zero. */
typedef struct {
    int32_t bias[WH_BLOCK];
    int32_t multiplier[WH_BLOCK];
    int32_t odd_multiplier[WH_BLOCK];  /* of channel i + 1, for even i */
    int32_t left[WH_BLOCK];
    int32_t right[WH_BLOCK];
    int32_t mask[WH_BLOCK];            /* 2^right - 1 */
    int64_t even_addend[WH_BLOCK / 2]; /* 2^30 + half 2^31, of channels 0, 2, … */
    int64_t odd_addend[WH_BLOCK / 2];  /* … and 1, 3, … */
    float scale[WH_BLOCK];             /* of rule F */
    float fine_scale[WH_BLOCK];        /* of finish_tile.h: the scale, in units of 2^-16, and … */
    float addend[2][WH_BLOCK];         /* … what is added, where the sum is positive or negative */
} wh_block;

/* Of a node. */
typedef struct {
    int32_t zero_y, act_min, act_max;
    int32_t way;  /* wh_finish_way */
} wh_finishing;

/* `pixels` rows of WH_BLOCK sums (the bias in them); row i goes to y + i step, of which the first
 * `count` channels. */
void wh_finish_rows_avx2(const wh_finishing *f, const wh_block *b, const __m256i (*sums)[2],
                         int32_t pixels, int8_t *y, intptr_t step, int32_t count);

/* The same of pairs of pixels: within a pair they are `step` apart, pairs are `pair_step` apart. */
void wh_finish_pairs_avx2(const wh_finishing *f, const wh_block *b, const __m256i (*sums)[2],
                          int32_t pixels, int8_t *y, intptr_t step, intptr_t pair_step,
                          int32_t count);

/* What prepare writes: the blocks of a node whose lanes come in groups of `per_group`, each group
 * begun with a block of its own. Lane i is channel i % channels; a channel has `taps` weights, the
 * j-th of channel o is w[o outer + j inner]. */
typedef struct {
    const wh_program *program;
    const wh_node *node;
    int32_t channels, lanes, per_group;
    int64_t taps, outer, inner;
} wh_block_source;

wh_finishing wh_prepare_blocks(const wh_block_source *source, wh_block *blocks);

static inline int64_t wh_block_count(int32_t lanes, int32_t per_group)
{
    return (int64_t)(lanes / per_group) * (((int64_t)per_group + WH_BLOCK - 1) / WH_BLOCK);
}

#endif
