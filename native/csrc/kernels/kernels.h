/* The portable kernels. Each reads its node and tensors through the call; none can fail. */

#ifndef WHERRY_KERNELS_H
#define WHERRY_KERNELS_H

#include "../core/call.h"

void wh_fully_connected(const wh_call *call);
void wh_conv_2d(const wh_call *call);
void wh_depthwise_conv_2d(const wh_call *call);
void wh_average_pool_2d(const wh_call *call);
void wh_max_pool_2d(const wh_call *call);
void wh_mean(const wh_call *call);
void wh_add(const wh_call *call);
void wh_sub(const wh_call *call);
void wh_mul(const wh_call *call);
void wh_concatenation(const wh_call *call);
void wh_pad(const wh_call *call);
void wh_reshape(const wh_call *call);
void wh_softmax(const wh_call *call);
void wh_lookup(const wh_call *call);
void wh_requantize(const wh_call *call);
void wh_div(const wh_call *call);
void wh_leaky_relu(const wh_call *call);
void wh_prelu(const wh_call *call);
void wh_transpose_conv(const wh_call *call);
void wh_transpose(const wh_call *call);
void wh_strided_slice(const wh_call *call);
void wh_gather(const wh_call *call);
void wh_resize_nearest(const wh_call *call);
void wh_arg_max(const wh_call *call);

/* Of 16-bit activations. The others take both widths. */
void wh_fully_connected_16(const wh_call *call);
void wh_conv_2d_16(const wh_call *call);
void wh_depthwise_conv_2d_16(const wh_call *call);
void wh_softmax_16(const wh_call *call);
void wh_lookup_16(const wh_call *call);
void wh_logistic_16(const wh_call *call);
void wh_tanh_16(const wh_call *call);

#endif
