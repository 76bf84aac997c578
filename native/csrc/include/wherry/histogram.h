/* Log-linear histogram of durations: fixed size, mergeable, at most 1/64 relative error.
 *
 * 32 octaves of 64 buckets. With d clamped to [1, 2^32 - 1] and e = floor(log2 d):
 * bucket(d) = 64 e + ((64 d) >> e) - 64. docs/SPEC-program.md has the edges. */

#ifndef WHERRY_HISTOGRAM_H
#define WHERRY_HISTOGRAM_H

#include <stdint.h>

#include "wherry/engine.h"

#define WH_HISTOGRAM_BUCKETS 2048u           /* 1 ns to 4 s; longer counts as 4 s */

typedef struct {
    uint64_t count;                          /* samples, all buckets */
    uint64_t sum_ns;
    uint64_t max_ns;                         /* 0 while count is 0 */
    uint32_t buckets[WH_HISTOGRAM_BUCKETS];  /* saturate, never wrap */
} wh_histogram;

void wh_histogram_reset(wh_histogram *h);

void wh_histogram_add(wh_histogram *h, uint64_t duration_ns);

/* Adds `from` to `into`. */
void wh_histogram_merge(wh_histogram *into, const wh_histogram *from);

/* q in (0, 65536], as a fraction of 65536. Writes the upper edge of the bucket that holds the
 * quantile, or the maximum where that is less. 0, WH_ERR_EMPTY or WH_ERR_ARGUMENT. */
WH_MUST_CHECK int wh_histogram_quantile(const wh_histogram *h, uint32_t q, uint64_t *duration_ns);

uint32_t wh_histogram_bucket(uint64_t duration_ns);

/* The longest duration that falls into the bucket. */
uint64_t wh_histogram_upper_edge_ns(uint32_t bucket);

#endif
