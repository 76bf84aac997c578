/* The input of a convolution as optimized kernels want it: copied row by row into scratch, so
 * padded that every tap of every window lies inside, and without the rows and columns that no
 * window of one tap looks at. What a row's elements become there is the kernel's business. */

#ifndef WHERRY_KERNELS_PADDED_H
#define WHERRY_KERNELS_PADDED_H

#include "../core/call.h"
#include "../core/layout.h"

/* Scratch and prepared memory beyond this is granted only to tensors of a comparable size. */
#define WH_MODEST_SIZE ((uint64_t)1 << 20)

typedef struct {
    int32_t in_h, in_w, in_c;
    int32_t out_h, out_w;
    int32_t kernel_h, kernel_w;
    int32_t dilation_h, dilation_w;
    int32_t rows, columns;        /* of the padded image */
    int32_t top, left;            /* padded row and column of the input's first one */
    int32_t step_h, step_w;       /* input rows and columns from one padded one to the next */
    int32_t stride_h, stride_w;   /* padded rows and columns from one output to the next */
} wh_padded;

static inline int64_t wh_reach(int32_t out, int32_t stride, int32_t taps, int32_t dilation)
{
    return (int64_t)(out - 1) * stride + (int64_t)(taps - 1) * dilation + 1;
}

/* A convolution's or depthwise convolution's input; the kernel is [.., kernel_h, kernel_w, ..]. */
static inline wh_padded wh_padded_of(const wh_program *program, const wh_node *node)
{
    const wh_tensor *x = wh_operand_of(program, node, WH_X);
    const wh_tensor *w = wh_operand_of(program, node, WH_WEIGHTS);
    const wh_tensor *y = &program->tensors[node->output];
    const int32_t *p = node->params;
    wh_padded image = {
        .in_h = wh_dim(x, 1), .in_w = wh_dim(x, 2), .in_c = wh_dim(x, 3),
        .out_h = wh_dim(y, 1), .out_w = wh_dim(y, 2),
        .kernel_h = wh_dim(w, 1), .kernel_w = wh_dim(w, 2),
        .dilation_h = p[WH_CONV_DILATION_H], .dilation_w = p[WH_CONV_DILATION_W],
        .top = p[WH_CONV_PAD_TOP], .left = p[WH_CONV_PAD_LEFT],
        .step_h = 1, .step_w = 1,
        .stride_h = p[WH_CONV_STRIDE_H], .stride_w = p[WH_CONV_STRIDE_W],
    };
    if (image.kernel_h == 1) {
        image.step_h = image.stride_h;
        image.stride_h = 1;
    }
    if (image.kernel_w == 1) {
        image.step_w = image.stride_w;
        image.stride_w = 1;
    }
    image.rows = (int32_t)wh_reach(image.out_h, image.stride_h, image.kernel_h, image.dilation_h);
    image.columns =
        (int32_t)wh_reach(image.out_w, image.stride_w, image.kernel_w, image.dilation_w);
    return image;
}

/* Whether memory of `rows` times `columns` times `depth` bytes is in proportion to the node's
 * tensors; each factor is below 2^31. */
static inline int wh_is_modest(const wh_program *program, const wh_node *node, int64_t rows,
                               int64_t columns, int64_t depth)
{
    uint64_t granted = WH_MODEST_SIZE + 16u * (uint64_t)wh_operand_of(program, node, WH_X)->size +
                       16u * (uint64_t)program->tensors[node->output].size;
    uint64_t area = (uint64_t)rows * (uint64_t)columns;
    return area <= granted && area * (uint64_t)depth <= granted;
}

/* The input row that lies in a padded row, or NULL where that is padding. */
static inline const int8_t *wh_row_in(const wh_padded *image, const int8_t *x, int32_t row)
{
    int64_t y = (int64_t)row * image->step_h - image->top;
    return y < 0 || y >= image->in_h ? NULL : x + y * image->in_w * image->in_c;
}

/* Padded columns [left, end) hold input; the others are padding. */
static inline int32_t wh_columns_end(const wh_padded *image)
{
    int64_t held = ((int64_t)image->in_w + image->step_w - 1) / image->step_w;
    int64_t end = image->left + held;
    return end < image->columns ? (int32_t)end : image->columns;
}

#endif
