/* Log-linear histogram of durations; see wherry/histogram.h. */

#include "wherry/histogram.h"

#include <string.h>

static uint32_t floor_log2(uint32_t value)
{
    uint32_t exponent = 0;
    for (uint32_t step = 16; step > 0; step /= 2) {
        if (value >> step != 0) {
            value >>= step;
            exponent += step;
        }
    }
    return exponent;
}

uint32_t wh_histogram_bucket(uint64_t duration_ns)
{
    uint32_t d = duration_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)duration_ns;
    if (d == 0) {
        d = 1;
    }
    uint32_t e = floor_log2(d);
    return 64 * e + (uint32_t)(((uint64_t)d * 64) >> e) - 64;
}

uint64_t wh_histogram_upper_edge_ns(uint32_t bucket)
{
    uint32_t e = bucket / 64;
    uint64_t f = 64 + bucket % 64;
    return (((f + 1) << e) + 63) / 64 - 1;
}

static uint32_t saturating_add(uint32_t a, uint32_t b)
{
    return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

void wh_histogram_reset(wh_histogram *h)
{
    memset(h, 0, sizeof *h);
}

void wh_histogram_add(wh_histogram *h, uint64_t duration_ns)
{
    uint32_t bucket = wh_histogram_bucket(duration_ns);
    h->buckets[bucket] = saturating_add(h->buckets[bucket], 1);
    h->count += 1;
    h->sum_ns += duration_ns;
    if (duration_ns > h->max_ns) {
        h->max_ns = duration_ns;
    }
}

void wh_histogram_merge(wh_histogram *into, const wh_histogram *from)
{
    for (uint32_t i = 0; i < WH_HISTOGRAM_BUCKETS; i++) {
        into->buckets[i] = saturating_add(into->buckets[i], from->buckets[i]);
    }
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    if (from->max_ns > into->max_ns) {
        into->max_ns = from->max_ns;
    }
}

/* ceil(count q / 65536) without overflow. */
static uint64_t rank_of(uint64_t count, uint32_t q)
{
    uint64_t high = (count >> 16) * q;
    uint64_t low = ((count & 0xFFFF) * q + 0xFFFF) >> 16;
    return high + low;
}

int wh_histogram_quantile(const wh_histogram *h, uint32_t q, uint64_t *duration_ns)
{
    if (q == 0 || q > 65536) {
        return WH_ERR_ARGUMENT;
    }
    if (h->count == 0) {
        return WH_ERR_EMPTY;
    }
    uint64_t rank = rank_of(h->count, q);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < WH_HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= rank) {
            uint64_t edge = wh_histogram_upper_edge_ns(i);
            *duration_ns = edge < h->max_ns ? edge : h->max_ns;
            return WH_OK;
        }
    }
    *duration_ns = h->max_ns; /* saturated buckets hold less than count */
    return WH_OK;
}
