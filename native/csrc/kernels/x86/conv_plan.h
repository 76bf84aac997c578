/* What kernels of CONV_2D, and of FULLY_CONNECTED as a convolution of one tap, know of a node.
 *
 * The input lies in scratch, padded, so that every tap of every output is at the same distance
 * from where its window begins. A window is a few *runs* of consecutive elements: one per row of
 * the filter, or one per tap where taps are dilated or channels grouped. Instructions take
 * `step` elements of a run at once; a run that is no multiple of that is ended by weights of 0.
 * Weights lie in the order in which tiles read them: block of 16 channels, run, step, channel. */

#ifndef WHERRY_KERNELS_CONV_PLAN_H
#define WHERRY_KERNELS_CONV_PLAN_H

#include "finish_avx2.h"

#include "../padded.h"

#define WH_CONV_BEYOND 64  /* bytes of scratch that a last step may read behind the input */

typedef struct {
    wh_padded image;
    wh_finishing finishing;
    int32_t batches;
    int32_t zero_x;
    int32_t out_c, per_group, group_c;   /* outputs; of them and of input channels in a group */
    int32_t run_count, run_steps, runs_per_row;
    intptr_t row_stride;                 /* elements of a padded row */
    size_t blocks_at, weights_at, runs_at;  /* in prepared memory, bytes */
} wh_conv_plan;

/* FULLY_CONNECTED is a convolution of one tap on one row. */
static inline wh_padded wh_conv_image(const wh_program *program, const wh_node *node)
{
    if (node->op == WH_CONV_2D) {
        return wh_padded_of(program, node);
    }
    const wh_tensor *x = wh_operand_of(program, node, WH_X);
    int32_t depth = wh_dim(wh_operand_of(program, node, WH_WEIGHTS), 1);
    int32_t rows = (int32_t)x->size / depth;
    return (wh_padded){
        .in_h = 1, .in_w = rows, .in_c = depth, .out_h = 1, .out_w = rows,
        .kernel_h = 1, .kernel_w = 1, .dilation_h = 1, .dilation_w = 1,
        .rows = 1, .columns = rows, .step_h = 1, .step_w = 1, .stride_h = 1, .stride_w = 1,
    };
}

static inline wh_conv_plan wh_conv_describe(const wh_program *program, const wh_node *node,
                                            int32_t step, size_t weight_size)
{
    const wh_tensor *x = wh_operand_of(program, node, WH_X);
    const wh_tensor *w = wh_operand_of(program, node, WH_WEIGHTS);
    wh_conv_plan p = {.image = wh_conv_image(program, node), .zero_x = x->zero_point};
    p.batches = node->op == WH_CONV_2D ? wh_dim(x, 0) : 1;
    p.out_c = wh_dim(w, 0);
    p.group_c = node->op == WH_CONV_2D ? wh_dim(w, 3) : p.image.in_c;
    p.per_group = p.out_c / (p.image.in_c / p.group_c);
    int is_joined = p.group_c == p.image.in_c && p.image.dilation_w == 1;
    p.runs_per_row = is_joined ? 1 : p.image.kernel_w;
    p.run_count = p.image.kernel_h * p.runs_per_row;
    p.run_steps = (p.group_c * (is_joined ? p.image.kernel_w : 1) - 1) / step + 1;
    p.row_stride = (intptr_t)p.image.columns * p.image.in_c;
    size_t blocks = (size_t)wh_block_count(p.out_c, p.per_group);
    size_t steps = blocks * (size_t)p.run_count * (size_t)p.run_steps;
    p.blocks_at = (sizeof p + 63) / 64 * 64;
    p.weights_at = p.blocks_at + blocks * sizeof(wh_block);
    p.runs_at = p.weights_at + steps * WH_BLOCK * (size_t)step * weight_size;
    return p;
}

/* An element of scratch is as large as a weight. */
static inline int wh_conv_needs(const wh_program *program, const wh_node *node, int32_t step,
                                size_t element_size, wh_needs *needs)
{
    wh_padded image = wh_conv_image(program, node);
    int64_t depth = (int64_t)image.in_c * (int64_t)element_size;
    if (!wh_is_modest(program, node, image.rows, image.columns, depth)) {
        return 0;
    }
    wh_conv_plan p = wh_conv_describe(program, node, step, element_size);
    needs->prepared = p.runs_at + (size_t)p.run_count * sizeof(int32_t);
    needs->scratch = (size_t)image.rows * (size_t)p.row_stride * element_size + WH_CONV_BEYOND;
    return 1;
}

/* Writes the blocks and the runs; the weights and the plan itself are the kernel's to write. */
static inline wh_conv_plan wh_conv_prepare(const wh_program *program, const wh_node *node,
                                           int32_t step, size_t weight_size, uint8_t *memory)
{
    wh_conv_plan p = wh_conv_describe(program, node, step, weight_size);
    int64_t taps = (int64_t)p.image.kernel_h * p.image.kernel_w * p.group_c;
    wh_block_source source = {program, node, p.out_c, p.out_c, p.per_group, taps, taps, 1};
    p.finishing = wh_prepare_blocks(&source, (void *)(memory + p.blocks_at));
    int32_t *runs = (void *)(memory + p.runs_at);
    for (int32_t run = 0; run < p.run_count; run++) {
        int32_t ky = run / p.runs_per_row;
        int32_t kx = run % p.runs_per_row;
        runs[run] = (int32_t)(ky * p.image.dilation_h * p.row_stride +
                              (intptr_t)kx * p.image.dilation_w * p.image.in_c);
    }
    return p;
}

/* Channel o's weight of a run's i-th element; 0 beyond the run. */
static inline int8_t wh_conv_weight(const wh_conv_plan *p, const int8_t *w, int32_t o, int32_t run,
                                    int32_t i)
{
    int32_t length = p->runs_per_row == 1 ? p->group_c * p->image.kernel_w : p->group_c;
    intptr_t taps = (intptr_t)p->image.kernel_h * p->image.kernel_w * p->group_c;
    return i < length ? w[o * taps + (intptr_t)run * length + i] : 0;
}

/* Where one output's window begins, in elements of the padded image; outputs in the order in which
 * they lie. */
typedef struct {
    intptr_t element;
    int32_t column;
} wh_conv_cursor;

static inline void wh_conv_advance(const wh_conv_plan *p, wh_conv_cursor *at)
{
    intptr_t step = (intptr_t)p->image.stride_w * p->image.in_c;
    at->element += step;
    if (++at->column == p->image.out_w) {
        at->column = 0;
        at->element += p->image.stride_h * p->row_stride - p->image.out_w * step;
    }
}

#endif
