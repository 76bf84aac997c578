/* Changes every byte of two sketches, and cuts them everywhere; each room is exactly as large as
 * the header promises, so that the sanitizers see a byte too many. Prints how many it tried. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/sketch.h"

#define FILE_BYTES_MAX 4096

typedef struct {
    uint8_t data[FILE_BYTES_MAX];
    size_t size;
} sample;

static int load(const char *path, sample *s)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return 0;
    }
    s->size = fread(s->data, 1, sizeof s->data, file);
    return fclose(file) == 0;
}

static uint8_t *exactly(size_t size)
{
    uint8_t *room = malloc(size > 0 ? size : 1);
    if (room == NULL) {
        abort();
    }
    return room;
}

static void try_one(const sample *a, const sample *b)
{
    uint8_t *first = exactly(a->size);
    uint8_t *second = exactly(b->size);
    uint8_t *out = exactly(a->size + b->size);
    size_t out_size = 0;
    uint64_t duration_ns = 0;
    wh_sketch_totals totals;
    memcpy(first, a->data, a->size);
    memcpy(second, b->data, b->size);
    int read = wh_sketch_read(first, a->size, &totals);
    int merged = wh_sketch_merge(first, a->size, second, b->size, out, &out_size);
    if (wh_sketch_at_rank(first, a->size, 1, &duration_ns) == WH_OK && read != WH_OK) {
        abort();
    }
    if (merged == WH_OK && wh_sketch_read(out, out_size, &totals) != WH_OK) {
        abort();
    }
    free(first);
    free(second);
    free(out);
}

static unsigned change(const sample *a, const sample *b)
{
    static const uint8_t bytes[] = {0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF};
    unsigned tried = 0;
    for (size_t at = 0; at < a->size; at++) {
        sample changed = *a;
        changed.size = at;
        try_one(&changed, b);
        try_one(b, &changed);
        changed.size = a->size;
        for (size_t i = 0; i < sizeof bytes; i++) {
            changed.data[at] = bytes[i];
            try_one(&changed, b);
            try_one(b, &changed);
            for (size_t next = at + 1; next < a->size; next += 7) {
                sample twice = changed;
                twice.data[next] = bytes[(i + at) % sizeof bytes];
                try_one(&twice, b);
                tried++;
            }
            tried += 2;
        }
        tried += 2;
    }
    return tried;
}

int main(int count, char **arguments)
{
    static sample full;
    static sample few;
    if (count != 3 || !load(arguments[1], &full) || !load(arguments[2], &few)) {
        return 2;
    }
    printf("%u\n", change(&full, &few) + change(&few, &full));
    return 0;
}
