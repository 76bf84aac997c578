/* Latency sketches as they stand on the wire (docs/SPEC.md, section 8), worked on in place.
 *
 * A sketch is a histogram (wherry/histogram.h) packed: a format byte, then LEB128 numbers: count,
 * sum, max, occupied buckets, and for each of those its distance to the one before and its count.
 * Whoever reads many of them adds and asks without unpacking. Nothing here allocates. */

#ifndef WHERRY_SKETCH_H
#define WHERRY_SKETCH_H

#include <stddef.h>
#include <stdint.h>

#include "wherry/engine.h"

#define WH_SKETCH_FORMAT 1u

/* Room for any sketch: format, four numbers, and 2,048 buckets of a gap and a count. */
#define WH_SKETCH_BYTES_MAX (1u + 4u * 10u + 2048u * (2u + 10u))

typedef struct {
    uint64_t count;                          /* samples, all buckets */
    uint64_t sum_ns;
    uint64_t max_ns;                         /* 0 while count is 0 */
} wh_sketch_totals;

/* Checks the sketch whole. 0; WH_ERR_FORMAT_VERSION for another format, WH_ERR_ARGUMENT for
 * bytes that are no sketch. */
WH_MUST_CHECK int wh_sketch_read(const uint8_t *data, size_t size, wh_sketch_totals *totals);

/* Writes the sketch of both into `out`, and its length: at most that of both together, and at
 * most WH_SKETCH_BYTES_MAX. 0, an error of wh_sketch_read, or WH_ERR_ARGUMENT where a sum is
 * beyond 64 bits. */
WH_MUST_CHECK int wh_sketch_merge(const uint8_t *first, size_t first_size, const uint8_t *second,
                                  size_t second_size, uint8_t *out, size_t *out_size);

/* The upper edge of the bucket that holds the sample of that rank (1 is the shortest), at most
 * the maximum. 0, an error of wh_sketch_read, or WH_ERR_EMPTY where there is no such sample. */
WH_MUST_CHECK int wh_sketch_at_rank(const uint8_t *data, size_t size, uint64_t rank,
                                    uint64_t *duration_ns);

#endif
