/* Heads and floats of deterministic CBOR (RFC 8949, 3 and 4.2), without Python.
 *
 * A function that returns false has found another encoding than the one there is, or the end. */

#ifndef WHERRY_WIRE_H
#define WHERRY_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ONE_BYTE_ARGUMENT 24u                /* arguments below it stand in the head itself */

enum { MAJOR_UNSIGNED, MAJOR_NEGATIVE, MAJOR_BYTES, MAJOR_TEXT, MAJOR_ARRAY, MAJOR_MAP, MAJOR_TAG,
       MAJOR_OTHER };

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} reader;

/* Major type and argument of the next item, which is no MAJOR_OTHER beyond one byte. */
bool wire_head(reader *in, unsigned *major, uint64_t *argument);

/* The head of something of that major type with low..high parts, each of at least one byte. */
bool wire_counted(reader *in, unsigned wanted, uint64_t low, uint64_t high, uint64_t *count);

/* A map's key of one or two bytes, as encoded: 0xKK, or 0x18KK for 24 and more. */
bool wire_key(reader *in, uint16_t *key);

/* A finite float in its shortest form. */
bool wire_float(reader *in, double *value);

/* The other way: each writes at most WIRE_ITEM_MAX bytes, and returns how many. */
#define WIRE_ITEM_MAX 9u
size_t wire_write_head(uint8_t *out, unsigned major, uint64_t argument);
size_t wire_write_key(uint8_t *out, uint16_t key);
size_t wire_write_float(uint8_t *out, double value);

#endif
