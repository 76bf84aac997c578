/* Heads and floats of deterministic CBOR; see wire.h. */

#include "wire.h"

#include <float.h>
#include <math.h>
#include <string.h>

static uint64_t big_endian(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value = value << 8 | bytes[i];
    }
    return value;
}

bool wire_head(reader *in, unsigned *major, uint64_t *argument)
{
    static const uint64_t least[] = {24, 1u << 8, 1u << 16, UINT64_C(1) << 32};
    if (in->at == in->end) {
        return false;
    }
    uint8_t first = *in->at++;
    unsigned info = first & 0x1Fu;
    *major = first >> 5;
    if (info < ONE_BYTE_ARGUMENT) {
        *argument = info;
        return true;
    }
    unsigned width = info - ONE_BYTE_ARGUMENT;
    size_t size = (size_t)1 << width;
    if (width > 3 || (size_t)(in->end - in->at) < size) {
        return false;
    }
    *argument = big_endian(in->at, size);
    in->at += size;
    return *argument >= least[width] && *major != MAJOR_OTHER;
}

bool wire_counted(reader *in, unsigned wanted, uint64_t low, uint64_t high, uint64_t *count)
{
    unsigned major = 0;
    return wire_head(in, &major, count) && major == wanted && *count >= low && *count <= high
        && *count <= (uint64_t)(in->end - in->at);
}

bool wire_key(reader *in, uint16_t *key)
{
    if (in->at == in->end) {
        return false;
    }
    *key = *in->at++;
    if (*key != 0x18) {
        return true;
    }
    if (in->at == in->end || *in->at < ONE_BYTE_ARGUMENT) {
        return false;
    }
    *key = (uint16_t)(0x1800 | *in->at++);
    return true;
}

static double half(uint16_t bits)
{
    unsigned exponent = (bits >> 10) & 0x1Fu;
    double fraction = bits & 0x3FFu;
    double value = ldexp(fraction, -24);     /* subnormal */
    if (exponent > 0) {
        value = ldexp(fraction + 1024, (int)exponent - 25);
    }
    if (exponent == 31) {
        value = INFINITY;                    /* or NaN: neither is a number of ours */
    }
    return bits & 0x8000u ? -value : value;
}

static bool fits_half(double value)
{
    double size = fabs(value);
    if (size >= ldexp(1, -14)) {
        int exponent = 0;
        double eleven_bits = ldexp(frexp(size, &exponent), 11);
        return size <= 65504 && eleven_bits == floor(eleven_bits);
    }
    double steps = ldexp(size, 24);          /* of the smallest number there is */
    return steps == floor(steps);
}

static bool fits_single(double value)
{
    return fabs(value) <= (double)FLT_MAX && (double)(float)value == value;
}

bool wire_float(reader *in, double *value)
{
    size_t left = (size_t)(in->end - in->at);
    if (left >= 3 && in->at[0] == 0xF9) {
        *value = half((uint16_t)big_endian(in->at + 1, 2));
        in->at += 3;
        return isfinite(*value);
    }
    if (left >= 5 && in->at[0] == 0xFA) {
        uint32_t bits = (uint32_t)big_endian(in->at + 1, 4);
        float single = 0;
        memcpy(&single, &bits, sizeof single);
        *value = (double)single;
        in->at += 5;
        return isfinite(*value) && !fits_half(*value);
    }
    if (left >= 9 && in->at[0] == 0xFB) {
        uint64_t bits = big_endian(in->at + 1, 8);
        memcpy(value, &bits, sizeof *value);
        in->at += 9;
        return isfinite(*value) && !fits_single(*value);
    }
    return false;
}

static size_t write_big_endian(uint8_t *out, uint8_t first, uint64_t value, size_t size)
{
    out[0] = first;
    for (size_t i = size; i > 0; i--) {
        out[i] = (uint8_t)value;
        value >>= 8;
    }
    return 1 + size;
}

size_t wire_write_head(uint8_t *out, unsigned major, uint64_t argument)
{
    unsigned first = major << 5;
    if (argument < ONE_BYTE_ARGUMENT) {
        out[0] = (uint8_t)(first | argument);
        return 1;
    }
    unsigned width = 0;                      /* 1, 2, 4 or 8 bytes */
    while (width < 3 && argument >> (8u << width) != 0) {
        width++;
    }
    return write_big_endian(out, (uint8_t)(first | (ONE_BYTE_ARGUMENT + width)), argument,
                            (size_t)1 << width);
}

size_t wire_write_key(uint8_t *out, uint16_t key)
{
    if (key <= UINT8_MAX) {
        out[0] = (uint8_t)key;
        return 1;
    }
    return write_big_endian(out, (uint8_t)(key >> 8), key & 0xFFu, 1);
}

/* The bits of a number that `fits_half`. */
static uint16_t to_half(double value)
{
    uint16_t sign = signbit(value) ? 0x8000u : 0;
    int exponent = 0;
    double fraction = frexp(fabs(value), &exponent);    /* 0.5 to 1, or 0 */
    if (fraction == 0.0 || exponent < -13) {
        return (uint16_t)(sign | (uint16_t)ldexp(fabs(value), 24));
    }
    uint16_t bits = (uint16_t)(ldexp(fraction, 11) - 1024.0);
    return (uint16_t)(sign | (uint16_t)((exponent + 14) << 10) | bits);
}

size_t wire_write_float(uint8_t *out, double value)
{
    if (fits_half(value)) {
        return write_big_endian(out, 0xF9, to_half(value), 2);
    }
    if (fits_single(value)) {
        float single = (float)value;
        uint32_t bits = 0;
        memcpy(&bits, &single, sizeof bits);
        return write_big_endian(out, 0xFA, bits, 4);
    }
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    return write_big_endian(out, 0xFB, bits, 8);
}
