/* Kernels for x86-64 with AVX2; each equals its portable sister byte for byte, and its `needs` says
 * no to the nodes that it is not for. */

#ifndef WHERRY_KERNELS_KERNELS_AVX2_H
#define WHERRY_KERNELS_KERNELS_AVX2_H

#include "../../core/call.h"

/* CONV_2D, and FULLY_CONNECTED as one of one tap. */
int wh_conv_2d_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs);
void wh_conv_2d_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared);
void wh_conv_2d_avx2(const wh_call *call);

/* CONV_2D with a filter of 3 x 3 and stride 1. */
int wh_conv_3x3_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs);
void wh_conv_3x3_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared);
void wh_conv_3x3_avx2(const wh_call *call);

/* FULLY_CONNECTED of one row: by bytes where that is exact and pays, and by 16-bit values. */
int wh_dense_bytes_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs);
void wh_dense_bytes_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared);
void wh_dense_bytes_avx2(const wh_call *call);

int wh_dense_words_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs);
void wh_dense_words_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared);
void wh_dense_words_avx2(const wh_call *call);

int wh_depthwise_conv_2d_needs_avx2(const wh_program *program, const wh_node *node,
                                    wh_needs *needs);
void wh_depthwise_conv_2d_prepare_avx2(const wh_program *program, const wh_node *node,
                                       void *prepared);
void wh_depthwise_conv_2d_avx2(const wh_call *call);

/* DEPTHWISE_CONV_2D with a filter of 3 x 3 and stride 1. */
int wh_depthwise_3x3_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs);
void wh_depthwise_3x3_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared);
void wh_depthwise_3x3_avx2(const wh_call *call);

int wh_sum_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs);
void wh_sum_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared);
void wh_sum_avx2(const wh_call *call);

void wh_average_pool_2d_avx2(const wh_call *call);
void wh_max_pool_2d_avx2(const wh_call *call);

#endif
