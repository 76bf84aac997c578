/* CONV_2D with a filter of 3 x 3 and stride 1, for the nodes that it takes. */

#ifndef WHERRY_KERNELS_CONV_3X3_AVX2_H
#define WHERRY_KERNELS_CONV_3X3_AVX2_H

#include "../../core/call.h"

int wh_takes_conv_3x3(const wh_program *program, const wh_node *node);
int wh_conv_3x3_needs_avx2(const wh_program *program, const wh_node *node, wh_needs *needs);
void wh_conv_3x3_prepare_avx2(const wh_program *program, const wh_node *node, void *prepared);
void wh_conv_3x3_avx2(const wh_call *call);

#endif
