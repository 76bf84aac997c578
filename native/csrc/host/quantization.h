/* What the integers of a tensor mean, and the same values in another tensor's integers:
 * real = (q - zero_point) * scale. */

#ifndef WHERRY_HOST_QUANTIZATION_H
#define WHERRY_HOST_QUANTIZATION_H

#include <stdbool.h>
#include <stddef.h>

#include "wherry/program.h"

typedef struct {
    double scale;          /* 0: the tensor states none */
    int32_t zero_point;
} wh_quantization;

wh_quantization wh_quantization_of(const wh_tensor *tensor);

/* The same dtype, the same size, and either the same quantization or a scale on both sides. */
bool wh_can_be_converted(const wh_tensor *from, const wh_tensor *to);

int64_t wh_element(const uint8_t *bytes, uint8_t dtype, size_t index);
size_t wh_element_count(const wh_tensor *tensor);

/* Values of `from` as the integers of `tensor`: nearest, half away from zero, saturating. */
void wh_convert(const wh_tensor *tensor, wh_quantization from, const uint8_t *input,
                uint8_t *output);

/* Is every element of `a`, in the quantization `of_a`, within `lsb` steps of `tensor`'s own scale
 * of `tensor`'s `b`? */
bool wh_is_within(const wh_tensor *tensor, wh_quantization of_a, const uint8_t *a, const uint8_t *b,
                  int64_t lsb);

#endif
