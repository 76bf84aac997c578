/* Loads each program of the vectors, runs its samples, prints `NAME CRC32` of all its outputs, or
 * `NAME STATUS` where the engine refuses it; first `kernels NAME`, at last `end`.
 *
 * Freestanding: no allocation, nothing from libc but memcpy and memset. The vectors are records in
 * memory, each part padded to 16 (tests/targets/vectors.py writes them):
 *
 *   u32 name_size, image_size, sample_size, sample_count | name | image | samples
 *
 * and end with a record whose name_size is 0. All integers are little-endian. */

#include <string.h>

#include "target.h"
#include "wherry/engine.h"

#define ARENA_BYTES (256u * 1024) /* tensors and the kernels' scratch */
#define CRC_POLYNOMIAL 0xEDB88320u

typedef struct {
    uint32_t name_size, image_size, sample_size, sample_count;
    const uint8_t *name, *image, *samples, *end;
} record;

extern const uint8_t wh_vectors[];

static union {
    uint64_t alignment[2];
    uint8_t bytes[ARENA_BYTES + WH_ALIGNMENT];
} memory;

static uint8_t *arena(void)
{
    uintptr_t past = (uintptr_t)memory.bytes % WH_ALIGNMENT;
    return memory.bytes + (past == 0 ? 0 : WH_ALIGNMENT - past);
}

static uint32_t read_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint32_t padded(uint32_t size)
{
    return (size + WH_ALIGNMENT - 1) / WH_ALIGNMENT * WH_ALIGNMENT;
}

static record record_at(const uint8_t *at)
{
    record r = {read_u32(at), read_u32(at + 4), read_u32(at + 8), read_u32(at + 12), at + 16, 0, 0,
                0};
    r.image = r.name + padded(r.name_size);
    r.samples = r.image + padded(r.image_size);
    r.end = r.samples + padded(r.sample_size * r.sample_count);
    return r;
}

static uint32_t crc_of(uint32_t crc, const uint8_t *bytes, uint32_t size)
{
    crc = ~crc;
    for (uint32_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (CRC_POLYNOMIAL & (0u - (crc & 1)));
        }
    }
    return ~crc;
}

/* `bytes` gets the inputs one after another; how many bytes they are. */
static uint32_t set_inputs(const wh_program *program, const uint8_t *sample)
{
    uint32_t size = 0;
    const wh_tensor *input;
    for (uint32_t i = 0; (input = wh_input(program, i)) != NULL; i++) {
        memcpy(arena() + input->offset, sample + size, input->size);
        size += input->size;
    }
    return size;
}

static uint32_t add_outputs(const wh_program *program, uint32_t crc)
{
    const wh_tensor *output;
    for (uint32_t i = 0; (output = wh_output(program, i)) != NULL; i++) {
        crc = crc_of(crc, arena() + output->offset, output->size);
    }
    return crc;
}

static int run_samples(const wh_program *program, const record *r, uint32_t *crc)
{
    int status = wh_reset(program, arena(), ARENA_BYTES);
    for (uint32_t i = 0; status == WH_OK && i < r->sample_count; i++) {
        if (set_inputs(program, r->samples + i * r->sample_size) != r->sample_size) {
            return WH_ERR_INPUT_SIZE;
        }
        status = wh_run(program, arena(), ARENA_BYTES);
        *crc = add_outputs(program, *crc);
    }
    return status;
}

static void write_hex(uint32_t value)
{
    char digits[9] = {0};
    for (int i = 0; i < 8; i++) {
        digits[i] = "0123456789abcdef"[value >> (28 - 4 * i) & 15];
    }
    wh_write(digits);
}

static int load(wh_program *program, const record *r, const wh_preparation *with)
{
    int status = wh_program_load(program, r->image, r->image_size, NULL);
    if (status == WH_OK && with->memory != NULL) {
        status = wh_prepare(program, with->kernels, with->memory, with->size);
    }
    return status;
}

static void run_record(const record *r, const wh_preparation *with)
{
    wh_program program;
    uint32_t crc = 0;
    int status = load(&program, r, with);
    if (status == WH_OK) {
        status = run_samples(&program, r, &crc);
    }
    wh_write((const char *)r->name);
    wh_write(" ");
    if (status == WH_OK) {
        write_hex(crc);
    } else {
        wh_write(wh_error_name(status));
    }
    wh_write("\n");
}

void wh_run_vectors(void)
{
    wh_preparation with = wh_target_preparation();
    wh_write("kernels ");
    if (with.kernels == NULL) {
        wh_write("unknown here\n");
        return;
    }
    wh_write(wh_kernels_name(with.kernels));
    wh_write("\n");
    for (record r = record_at(wh_vectors); r.name_size != 0; r = record_at(r.end)) {
        run_record(&r, &with);
    }
    wh_write("end\n");
}
