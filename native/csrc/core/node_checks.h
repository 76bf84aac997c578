/* One check per kind of operator: what it demands of its tensors and parameters, so that its kernel
 * checks nothing. Rank, dims and sizes of each tensor by itself have been checked. */

#ifndef WHERRY_CORE_NODE_CHECKS_H
#define WHERRY_CORE_NODE_CHECKS_H

#include "subject.h"

WH_MUST_CHECK int wh_check_fully_connected(const wh_subject *s);
WH_MUST_CHECK int wh_check_conv_2d(const wh_subject *s);
WH_MUST_CHECK int wh_check_depthwise_conv_2d(const wh_subject *s);
WH_MUST_CHECK int wh_check_pool(const wh_subject *s);
WH_MUST_CHECK int wh_check_mean(const wh_subject *s);
WH_MUST_CHECK int wh_check_sum(const wh_subject *s);
WH_MUST_CHECK int wh_check_mul(const wh_subject *s);
WH_MUST_CHECK int wh_check_requantize(const wh_subject *s);
WH_MUST_CHECK int wh_check_lookup(const wh_subject *s);
WH_MUST_CHECK int wh_check_sigmoid(const wh_subject *s);
WH_MUST_CHECK int wh_check_softmax(const wh_subject *s);
WH_MUST_CHECK int wh_check_concatenation(const wh_subject *s);
WH_MUST_CHECK int wh_check_pad(const wh_subject *s);
WH_MUST_CHECK int wh_check_reshape(const wh_subject *s);
WH_MUST_CHECK int wh_check_div(const wh_subject *s);
WH_MUST_CHECK int wh_check_leaky_relu(const wh_subject *s);
WH_MUST_CHECK int wh_check_prelu(const wh_subject *s);
WH_MUST_CHECK int wh_check_transpose_conv(const wh_subject *s);
WH_MUST_CHECK int wh_check_transpose(const wh_subject *s);
WH_MUST_CHECK int wh_check_strided_slice(const wh_subject *s);
WH_MUST_CHECK int wh_check_gather(const wh_subject *s);
WH_MUST_CHECK int wh_check_resize_nearest(const wh_subject *s);
WH_MUST_CHECK int wh_check_arg_max(const wh_subject *s);

#endif
