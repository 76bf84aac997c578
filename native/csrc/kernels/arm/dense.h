/* FULLY_CONNECTED and CONV_2D of one group, for any way in which a processor sums products. */

#ifndef WHERRY_KERNELS_ARM_DENSE_H
#define WHERRY_KERNELS_ARM_DENSE_H

#include <arm_neon.h>

#include "../../core/call.h"

#define WH_CHANNELS 4  /* of a block of weights */
#define WH_ROWS 4      /* inputs that are multiplied with a block at a time */
#define WH_TAPS 16     /* a multiple of them is multiplied; weights beyond the last tap are 0 */

/* `padded` is the number of taps, rounded up to WH_TAPS: as far may inputs and weights be read. */
typedef struct {
    /* Where tap `tap` of a block's channel `channel` lies in the block. */
    intptr_t (*place)(int32_t channel, int32_t tap, int32_t padded);
    /* The sums of the block's channels for one row, and for WH_ROWS of them. */
    int32x4_t (*row)(const int8_t *x, const int8_t *block, int32_t padded);
    void (*rows)(const int8_t *const *x, const int8_t *block, int32_t padded, int32x4_t *sums);
} wh_dot_product;

int wh_dense_needs(const wh_program *program, const wh_node *node, wh_needs *needs);
void wh_dense_prepare(const wh_program *program, const wh_node *node, const wh_dot_product *dot,
                      void *prepared);
void wh_fully_connected_dense(const wh_call *call, const wh_dot_product *dot);
void wh_conv_2d_dense(const wh_call *call, const wh_dot_product *dot);

/* DEPTHWISE_CONV_2D with one output channel per input channel. */
int wh_depthwise_needs(const wh_program *program, const wh_node *node, wh_needs *needs);
void wh_depthwise_conv_2d_neon(const wh_call *call);

/* Whether a node is of int8 activations and weights, rounded by rule D. */
int wh_is_plain_int8(const wh_program *program, const wh_node *node);

#endif
