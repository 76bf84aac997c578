/* Kernels for x86-64 with AVX2; each equals its portable sister byte for byte. */

#ifndef WHERRY_KERNELS_KERNELS_AVX2_H
#define WHERRY_KERNELS_KERNELS_AVX2_H

#include "../../core/call.h"

int wh_conv_2d_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs);
void wh_conv_2d_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared);
void wh_conv_2d_avx2(const wh_call *call);

int wh_fully_connected_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs);
void wh_fully_connected_prepare_avx2(const wh_program *program, const wh_node *node,
                                     void *prepared);
void wh_fully_connected_avx2(const wh_call *call);

int wh_depthwise_conv_2d_needs_avx2(const wh_program *program, const wh_node *node,
                                    wh_needs *needs);
void wh_depthwise_conv_2d_prepare_avx2(const wh_program *program, const wh_node *node,
                                       void *prepared);
void wh_depthwise_conv_2d_avx2(const wh_call *call);

int wh_sum_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs);
void wh_sum_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared);
void wh_sum_avx2(const wh_call *call);

void wh_average_pool_2d_avx2(const wh_call *call);
void wh_max_pool_2d_avx2(const wh_call *call);

#endif
