/* Kernels for x86-64 with AVX-512 VNNI; each equals its portable sister byte for byte. */

#ifndef WHERRY_KERNELS_KERNELS_VNNI_H
#define WHERRY_KERNELS_KERNELS_VNNI_H

#include "../../core/call.h"

/* CONV_2D and FULLY_CONNECTED. */
int wh_conv_2d_needs_vnni(const wh_program *program, const wh_node *node, wh_needs *needs);
void wh_conv_2d_prepare_vnni(const wh_program *program, const wh_node *node, void *prepared);
void wh_conv_2d_vnni(const wh_call *call);

#endif
