/* Packed latency sketches; see wherry/sketch.h. */

#include "wherry/sketch.h"

#include "wherry/histogram.h"

#include <string.h>

#define NUMBER_BYTES_MAX 10                  /* LEB128 of 64 bits */

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} reader;

/* One bucket after another; `left` counts those that are still to come. */
typedef struct {
    reader in;
    wh_sketch_totals totals;
    uint64_t left;
    uint64_t counted;                        /* samples of the buckets so far */
    uint32_t bucket;
    uint64_t samples;                        /* 0: past the last bucket */
} cursor;

typedef struct {
    uint8_t *at;
    uint32_t next;                           /* the lowest bucket that may come */
} writer;

static int read_number(reader *in, uint64_t *number)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 7 * NUMBER_BYTES_MAX; shift += 7) {
        if (in->at == in->end) {
            return WH_ERR_ARGUMENT;
        }
        uint8_t byte = *in->at++;
        uint64_t bits = byte & 0x7Fu;
        if (shift == 63 && bits > 1) {
            return WH_ERR_ARGUMENT;
        }
        value |= bits << shift;
        if (byte < 0x80u) {
            *number = value;
            return byte == 0 && shift > 0 ? WH_ERR_ARGUMENT : WH_OK;  /* a needless byte */
        }
    }
    return WH_ERR_ARGUMENT;
}

static int add(uint64_t a, uint64_t b, uint64_t *sum)
{
    *sum = a + b;
    return *sum < a ? WH_ERR_ARGUMENT : WH_OK;
}

/* The next bucket, or samples = 0 after the last one, where everything must add up. */
static int advance(cursor *c)
{
    uint64_t gap = 0;
    if (c->left == 0) {
        c->samples = 0;
        return c->in.at == c->in.end && c->counted == c->totals.count ? WH_OK : WH_ERR_ARGUMENT;
    }
    c->left--;
    int status = read_number(&c->in, &gap);
    if (status == WH_OK) {
        status = read_number(&c->in, &c->samples);
    }
    if (status == WH_OK) {
        status = add(c->counted, c->samples, &c->counted);
    }
    if (status != WH_OK || c->samples == 0 || gap >= WH_HISTOGRAM_BUCKETS) {
        return WH_ERR_ARGUMENT;
    }
    c->bucket += (uint32_t)gap + 1;          /* it starts one before the first bucket */
    return c->bucket < WH_HISTOGRAM_BUCKETS ? WH_OK : WH_ERR_ARGUMENT;
}

/* Stands on the first bucket afterwards. */
static int open_sketch(cursor *c, const uint8_t *data, size_t size)
{
    if (size == 0 || data[0] != WH_SKETCH_FORMAT) {
        return WH_ERR_FORMAT_VERSION;
    }
    memset(c, 0, sizeof *c);
    c->in.at = data + 1;
    c->in.end = data + size;
    c->bucket = UINT32_MAX;
    uint64_t *const head[] = {&c->totals.count, &c->totals.sum_ns, &c->totals.max_ns, &c->left};
    for (size_t i = 0; i < sizeof head / sizeof head[0]; i++) {
        int status = read_number(&c->in, head[i]);
        if (status != WH_OK) {
            return status;
        }
    }
    return advance(c);
}

int wh_sketch_read(const uint8_t *data, size_t size, wh_sketch_totals *totals)
{
    cursor c;
    int status = open_sketch(&c, data, size);
    while (status == WH_OK && c.samples > 0) {
        status = advance(&c);
    }
    *totals = c.totals;
    return status;
}

int wh_sketch_at_rank(const uint8_t *data, size_t size, uint64_t rank, uint64_t *duration_ns)
{
    cursor c;
    uint64_t found_ns = 0;
    int status = open_sketch(&c, data, size);
    while (status == WH_OK && c.samples > 0) {
        if (c.counted >= rank && c.counted - c.samples < rank) {
            found_ns = wh_histogram_upper_edge_ns(c.bucket);
        }
        status = advance(&c);
    }
    if (status != WH_OK) {
        return status;
    }
    if (rank == 0 || rank > c.totals.count) {
        return WH_ERR_EMPTY;
    }
    *duration_ns = found_ns < c.totals.max_ns ? found_ns : c.totals.max_ns;
    return WH_OK;
}

static void write_number(writer *w, uint64_t number)
{
    while (number > 0x7F) {
        *w->at++ = (uint8_t)((number & 0x7F) | 0x80);
        number >>= 7;
    }
    *w->at++ = (uint8_t)number;
}

static void write_bucket(writer *w, uint32_t bucket, uint64_t samples)
{
    write_number(w, bucket - w->next);
    write_number(w, samples);
    w->next = bucket + 1;
}

/* Both from their first bucket to their last; with `w` they are written, `occupied` counts them. */
static int walk(cursor a, cursor b, writer *w, uint64_t *occupied)
{
    int status = WH_OK;
    *occupied = 0;
    while (status == WH_OK && (a.samples > 0 || b.samples > 0)) {
        uint64_t samples = 0;
        int takes_a = a.samples > 0 && (b.samples == 0 || a.bucket <= b.bucket);
        int takes_b = b.samples > 0 && (a.samples == 0 || b.bucket <= a.bucket);
        uint32_t bucket = takes_a ? a.bucket : b.bucket;
        status = add(takes_a ? a.samples : 0, takes_b ? b.samples : 0, &samples);
        if (w != NULL) {
            write_bucket(w, bucket, samples);
        }
        *occupied += 1;
        if (status == WH_OK && takes_a) {
            status = advance(&a);
        }
        if (status == WH_OK && takes_b) {
            status = advance(&b);
        }
    }
    return status;
}

int wh_sketch_merge(const uint8_t *first, size_t first_size, const uint8_t *second,
                    size_t second_size, uint8_t *out, size_t *out_size)
{
    cursor a;
    cursor b;
    uint64_t count = 0;
    uint64_t sum_ns = 0;
    uint64_t occupied = 0;
    int status = open_sketch(&a, first, first_size);
    if (status == WH_OK) {
        status = open_sketch(&b, second, second_size);
    }
    if (status == WH_OK) {
        status = add(a.totals.count, b.totals.count, &count);
    }
    if (status == WH_OK) {
        status = add(a.totals.sum_ns, b.totals.sum_ns, &sum_ns);
    }
    if (status == WH_OK) {
        status = walk(a, b, NULL, &occupied);
    }
    if (status != WH_OK) {
        return status;
    }
    writer w = {out + 1, 0};
    out[0] = WH_SKETCH_FORMAT;
    write_number(&w, count);
    write_number(&w, sum_ns);
    write_number(&w, a.totals.max_ns > b.totals.max_ns ? a.totals.max_ns : b.totals.max_ns);
    write_number(&w, occupied);
    status = walk(a, b, &w, &occupied);      /* the same walk again: it cannot fail */
    *out_size = (size_t)(w.at - out);
    return status;
}
