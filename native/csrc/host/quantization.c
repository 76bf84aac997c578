/* What the integers of a tensor mean, and the same values in another tensor's integers. */

#include "quantization.h"

#include <string.h>

wh_quantization wh_quantization_of(const wh_tensor *tensor)
{
    float scale;
    memcpy(&scale, &tensor->scale_bits, sizeof scale);
    bool is_scale = scale > 0.0f && scale <= 3.402823466e38f; /* neither a NaN nor infinite */
    return (wh_quantization){.scale = is_scale ? (double)scale : 0.0,
                             .zero_point = tensor->zero_point};
}

static bool are_same(wh_quantization a, wh_quantization b)
{
    /* Not a hair apart: both come from the same bits, or they are others. */
    return a.zero_point == b.zero_point && !(a.scale < b.scale) && !(a.scale > b.scale);
}

bool wh_can_be_converted(const wh_tensor *from, const wh_tensor *to)
{
    wh_quantization a = wh_quantization_of(from);
    wh_quantization b = wh_quantization_of(to);
    return from->dtype == to->dtype && from->size == to->size &&
           (are_same(a, b) || (a.scale > 0.0 && b.scale > 0.0));
}

/* --- Elements ----------------------------------------------------------------------------- */

static size_t element_bytes(uint8_t dtype)
{
    return dtype == WH_INT8 ? 1 : dtype == WH_INT16 ? 2 : 4;
}

size_t wh_element_count(const wh_tensor *tensor)
{
    return tensor->size / element_bytes(tensor->dtype);
}

int64_t wh_element(const uint8_t *bytes, uint8_t dtype, size_t index)
{
    if (dtype == WH_INT8) {
        return (int8_t)bytes[index];
    }
    if (dtype == WH_INT16) {
        int16_t value;
        memcpy(&value, bytes + 2 * index, sizeof value);
        return value;
    }
    int32_t value;
    memcpy(&value, bytes + 4 * index, sizeof value);
    return value;
}

static void put(uint8_t *bytes, uint8_t dtype, size_t index, int64_t value)
{
    if (dtype == WH_INT8) {
        bytes[index] = (uint8_t)value;
    } else if (dtype == WH_INT16) {
        int16_t narrow = (int16_t)value;
        memcpy(bytes + 2 * index, &narrow, sizeof narrow);
    } else {
        int32_t narrow = (int32_t)value;
        memcpy(bytes + 4 * index, &narrow, sizeof narrow);
    }
}

/* --- From one quantization to another ----------------------------------------------------- */

static int64_t nearest(double steps, int32_t zero_point, uint8_t dtype)
{
    int64_t high = ((int64_t)1 << (8 * element_bytes(dtype) - 1)) - 1;
    int64_t low = -high - 1;
    double far = 2.0 * (double)high + 2.0; /* beyond it every zero point saturates */
    if (steps >= far) {
        return high;
    }
    if (steps <= -far) {
        return low;
    }
    int64_t q = (int64_t)(steps < 0.0 ? steps - 0.5 : steps + 0.5) + zero_point;
    return q < low ? low : q > high ? high : q;
}

void wh_convert(const wh_tensor *tensor, wh_quantization from, const uint8_t *input,
                uint8_t *output)
{
    wh_quantization to = wh_quantization_of(tensor);
    if (are_same(from, to)) {
        memcpy(output, input, tensor->size);
        return;
    }
    size_t count = wh_element_count(tensor);
    for (size_t i = 0; i < count; i++) {
        int64_t q = wh_element(input, tensor->dtype, i) - from.zero_point;
        double steps = (double)q * from.scale / to.scale;
        put(output, tensor->dtype, i, nearest(steps, to.zero_point, tensor->dtype));
    }
}

bool wh_is_within(const wh_tensor *tensor, wh_quantization of_a, const uint8_t *a, const uint8_t *b,
                  int64_t lsb)
{
    wh_quantization of_b = wh_quantization_of(tensor);
    bool is_same = are_same(of_a, of_b);
    size_t count = wh_element_count(tensor);
    for (size_t i = 0; i < count; i++) {
        int64_t from = wh_element(a, tensor->dtype, i) - of_a.zero_point;
        int64_t to = wh_element(b, tensor->dtype, i) - of_b.zero_point;
        double apart = is_same ? (double)(from - to)
                               : (double)from * of_a.scale / of_b.scale - (double)to;
        if (apart > (double)lsb || -apart > (double)lsb) {
            return false;
        }
    }
    return true;
}
