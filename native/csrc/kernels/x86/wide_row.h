/* A row of a padded image (padded.h), centred and widened to 16 bits, so that padding is 0. */

#ifndef WHERRY_KERNELS_WIDE_ROW_H
#define WHERRY_KERNELS_WIDE_ROW_H

#include <string.h>

#include "avx2.h"

#include "../padded.h"

static inline void wh_widen_row(const wh_padded *image, const int8_t *x, int32_t row,
                                int32_t zero_x, int16_t *to)
{
    const int8_t *from = wh_row_in(image, x, row);
    intptr_t depth = image->in_c;
    if (from == NULL) {
        memset(to, 0, (size_t)(image->columns * depth) * sizeof *to);
        return;
    }
    int32_t end = wh_columns_end(image);
    memset(to, 0, (size_t)(image->left * depth) * sizeof *to);
    if (image->step_w == 1) {
        wh_widen(from, (end - image->left) * depth, zero_x, to + image->left * depth);
    } else {
        for (int32_t i = image->left; i < end; i++) {
            wh_widen(from + (intptr_t)(i - image->left) * image->step_w * depth, depth, zero_x,
                     to + i * depth);
        }
    }
    memset(to + end * depth, 0, (size_t)((image->columns - end) * depth) * sizeof *to);
}

#endif
