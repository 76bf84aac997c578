/* Compares the engine's rescaling with gemmlowp's original wording on many values, and prints how
 * many were compared. usage: rounding COUNT SEED */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/rescale.h"

static uint64_t state;

static uint32_t random32(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

/* gemmlowp fixedpoint.h, SaturatingRoundingDoublingHighMul, as published. */
static int32_t original_multiply_high(int32_t a, int32_t b)
{
    if (a == b && a == INT32_MIN) {
        return INT32_MAX;
    }
    int64_t ab = (int64_t)a * b;
    int32_t nudge = ab >= 0 ? (1 << 30) : (1 - (1 << 30));
    return (int32_t)((ab + nudge) / (1ll << 31));
}

/* gemmlowp fixedpoint.h, RoundingDivideByPOT, as published; exponent in [0, 31]. */
static int32_t original_divide(int32_t x, int exponent)
{
    int32_t mask = (int32_t)((1ll << exponent) - 1);
    int32_t remainder = x & mask;
    int32_t threshold = (mask >> 1) + (x < 0 ? 1 : 0);
    return (x >> exponent) + (remainder > threshold ? 1 : 0);
}

static int32_t original(int32_t x, int32_t m, int shift)
{
    int left = shift > 0 ? shift : 0;
    int right = shift > 0 ? 0 : -shift;
    return original_divide(original_multiply_high((int32_t)((uint32_t)x << left), m), right);
}

/* Values of every magnitude, and the edges. */
static int32_t draw_accumulator(void)
{
    static const int32_t edges[] = {0,         1,          -1,
                                    INT32_MAX, INT32_MIN,  INT32_MIN + 1,
                                    1 << 30,   -(1 << 30), (1 << 30) - 1};
    uint32_t choice = random32() % 16;
    if (choice < sizeof edges / sizeof edges[0]) {
        return edges[choice];
    }
    return (int32_t)random32() >> (random32() % 31);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    long count = atol(argv[1]);
    state = (uint64_t)atoll(argv[2]) * 2654435761u + 88172645463325252u;
    for (long i = 0; i < count; i++) {
        int32_t acc = draw_accumulator();
        int32_t m = (int32_t)(random32() & 0x7FFFFFFF);
        int32_t shift = (int32_t)(random32() % 62) - 31;
        int32_t given = wh_rescale(acc, m, shift);
        int32_t expected = original(acc, m, shift);
        if (given != expected) {
            fprintf(stderr, "rescale(%d, %d, %d) = %d, gemmlowp %d\n", acc, m, shift, given,
                    expected);
            return 1;
        }
    }
    printf("%ld\n", count);
    return 0;
}
