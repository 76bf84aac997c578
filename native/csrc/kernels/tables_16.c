/* Functions of 16-bit activations by table: LOOKUP, LOGISTIC, TANH and SOFTMAX.
 *
 * Source: TFLite's reference LOGISTIC, TANH and SOFTMAX for int16 and its int16 table lookup. */

#include "../core/layout.h"
#include "kernels.h"
#include "rescale.h"

static int16_t interpolated(const int16_t *table, int32_t x)
{
    /* 512 intervals of 128 steps; entry 512 only ends the last one. */
    int32_t at = 256 + (x >> 7);
    int32_t offset = x & 127;
    int32_t slope = table[at + 1] - table[at];
    return (int16_t)(table[at] + ((slope * offset + 64) >> 7));
}

void wh_lookup_16(const wh_call *call)
{
    const int16_t *x = wh_bytes(call, wh_operand(call, 0));
    const int16_t *table = wh_bytes(call, wh_operand(call, 1));
    int16_t *y = wh_result_int16(call);
    uint32_t count = wh_result(call)->size / (uint32_t)sizeof *y;
    for (uint32_t i = 0; i < count; i++) {
        y[i] = interpolated(table, x[i]);
    }
}

/* x in steps of 1/12288, rounded; at most 2^31 away from 0. */
static int32_t in_steps(const int32_t *params, int32_t x)
{
    int32_t shift = params[WH_SIGMOID_SHIFT];
    int64_t half = shift > 0 ? (int64_t)1 << (shift - 1) : 0;
    return (int32_t)(((int64_t)x * params[WH_SIGMOID_MULTIPLIER] + half) >> shift);
}

/* sigmoid(|x|) for x in steps of 2^-bits / 24, with 16 + bits fraction bits; `table` is
 * sigmoid(i / 24) - 1/2 with 16 of them. */
static int32_t sigmoid_of(const int16_t *table, uint32_t x, int32_t bits, int32_t saturated)
{
    uint32_t at = x >> bits;
    if (at >= 255) {
        return saturated;
    }
    int32_t low = 32768 + table[at];
    int32_t high = 32768 + table[at + 1];
    return (low << bits) + (int32_t)(x & ((1u << bits) - 1)) * (high - low);
}

static uint32_t magnitude(int32_t v)
{
    return v < 0 ? 0u - (uint32_t)v : (uint32_t)v;
}

static int16_t logistic_of(const int16_t *table, int32_t x)
{
    int32_t value = sigmoid_of(table, magnitude(x), 9, 0x7FFF << 10);
    return (int16_t)((x >= 0 ? value + (1 << 9) : (1 << 25) - value + (1 << 9) - 1) >> 10);
}

/* tanh(x) = 2 sigmoid(2 x) - 1. */
static int16_t tanh_of(const int16_t *table, int32_t x)
{
    int32_t value = sigmoid_of(table, magnitude(x), 8, 0xFFFF << 8) - (1 << 23);
    return (int16_t)((x >= 0 ? value + (1 << 7) : -value + (1 << 7) - 1) >> 8);
}

static void map(const wh_call *call, int16_t (*function)(const int16_t *table, int32_t x))
{
    const int16_t *x = wh_bytes(call, wh_operand(call, 0));
    const int16_t *table = wh_bytes(call, wh_operand(call, 1));
    int16_t *y = wh_result_int16(call);
    uint32_t count = wh_result(call)->size / (uint32_t)sizeof *y;
    for (uint32_t i = 0; i < count; i++) {
        y[i] = function(table, in_steps(call->node->params, x[i]));
    }
}

void wh_logistic_16(const wh_call *call)
{
    map(call, logistic_of);
}

void wh_tanh_16(const wh_call *call)
{
    map(call, tanh_of);
}

typedef struct {
    const int16_t *exponentials;  /* exp(x), x from -10 to 0 */
    const int16_t *reciprocals;   /* 1 / (1 + x), x from 0 to 1 */
    int32_t m, shift;
} softmax;

static int16_t exp_of(const softmax *s, int32_t difference)
{
    int32_t scaled = wh_clamp(wh_rescale(difference, s->m, s->shift), -65536, 0);
    return interpolated(s->exponentials, wh_clamp(scaled + 32767, INT16_MIN, INT16_MAX));
}

static int16_t maximum(const int16_t *x, int32_t depth)
{
    int16_t best = x[0];
    for (int32_t i = 1; i < depth; i++) {
        best = x[i] > best ? x[i] : best;
    }
    return best;
}

/* The loader holds that the sum is at least 2 and at most 2^31 - 1. */
static void softmax_row(const softmax *s, const int16_t *x, int16_t *y, int32_t depth)
{
    int32_t largest = maximum(x, depth);
    int32_t sum = 0;
    for (int32_t i = 0; i < depth; i++) {
        y[i] = exp_of(s, x[i] - largest);
        sum += y[i];
    }
    int32_t headroom = 0; /* zeros in front of the sum, in 32 bits, less one */
    for (int32_t v = sum; v < 1 << 30; v <<= 1) {
        headroom++;
    }
    int32_t normal = (int32_t)((((int64_t)sum << headroom) + (1 << 13)) >> 14);
    int32_t fraction = wh_clamp(normal - (1 << 15) - (1 << 16), INT16_MIN, INT16_MAX);
    int32_t scale = interpolated(s->reciprocals, fraction);
    int32_t right = 30 - headroom;
    for (int32_t i = 0; i < depth; i++) {
        int64_t value = ((int64_t)y[i] * scale + ((int64_t)1 << (right - 1))) >> right;
        y[i] = (int16_t)(value < 0 ? 0 : value > INT16_MAX ? INT16_MAX : value);
    }
}

void wh_softmax_16(const wh_call *call)
{
    const wh_tensor *tensor = wh_operand(call, 0);
    softmax s = {
        .exponentials = wh_bytes(call, wh_operand(call, 1)),
        .reciprocals = wh_bytes(call, wh_operand(call, 2)),
        .m = call->node->params[WH_SOFTMAX_MULTIPLIER],
        .shift = call->node->params[WH_SOFTMAX_LEFT_SHIFT],
    };
    const int16_t *x = wh_bytes(call, tensor);
    const int16_t *end = x + tensor->size / sizeof *x;
    int16_t *y = wh_result_int16(call);
    int32_t depth = wh_dim(tensor, (uint32_t)tensor->rank - 1);
    for (; x < end; x += depth, y += depth) {
        softmax_row(&s, x, y, depth);
    }
}
