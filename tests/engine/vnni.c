/* The AVX-512 VNNI kernels, by SIMDe, against the portable ones.
 *
 * usage: vnni FILE, which has many images, each after its size (u32). Each is loaded, prepared
 * by a table of the VNNI kernels alone, and run on three inputs by both; outputs must be equal.
 * Prints how many images had a node that the VNNI kernels took. */

#define _POSIX_C_SOURCE 200809L

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/call.h"
#include "kernels/x86/kernels_vnni.h"

#define IMAGE_MAX (1u << 22)

static const wh_kernels vnni = {"avx512vnni", {
    [WH_FULLY_CONNECTED] = {wh_conv_2d_vnni, wh_conv_2d_needs_vnni, wh_conv_2d_prepare_vnni},
    [WH_CONV_2D] = {wh_conv_2d_vnni, wh_conv_2d_needs_vnni, wh_conv_2d_prepare_vnni},
}};

static void *exactly(size_t size)
{
    void *memory = NULL;
    if (posix_memalign(&memory, WH_PREPARED_ALIGNMENT, size) != 0) {
        abort();
    }
    return memory;
}

static void must(int status)
{
    if (status != WH_OK) {
        fprintf(stderr, "%s\n", wh_error_name(status));
        abort();
    }
}

static void fill(uint8_t *bytes, size_t size, uint32_t *state)
{
    for (size_t i = 0; i < size; i++) {
        *state = *state * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(*state >> 24);
    }
}

static void run(const wh_program *program, uint8_t *arena, uint32_t seed)
{
    memset(arena, 0x5A, program->arena_size);
    must(wh_reset(program, arena, program->arena_size));
    const wh_tensor *input = wh_input(program, 0);
    fill(arena + input->offset, input->size, &seed);
    must(wh_run(program, arena, program->arena_size));
}

static int compare(const uint8_t *image, size_t size)
{
    wh_program portable;
    must(wh_program_load(&portable, image, size, NULL));
    wh_program prepared = portable;
    size_t memory_size = wh_prepare_size(&portable, &vnni);
    void *memory = exactly(memory_size);
    must(wh_prepare(&prepared, &vnni, memory, memory_size));
    uint8_t *expected = exactly(portable.arena_size);
    uint8_t *given = exactly(prepared.arena_size);
    const wh_tensor *output = wh_output(&portable, 0);
    for (uint32_t seed = 0; seed < 3; seed++) {
        run(&portable, expected, seed);
        run(&prepared, given, seed);
        if (memcmp(expected + output->offset, given + output->offset, output->size) != 0) {
            fprintf(stderr, "%s differs\n", wh_name(&portable, portable.header->name));
            exit(1);
        }
    }
    int is_taken = prepared.steps[0].prepared != NULL;
    free(memory);
    free(expected);
    free(given);
    return is_taken;
}

int main(int argc, char **argv)
{
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    uint8_t *image = exactly(IMAGE_MAX);
    uint32_t size;
    int taken = 0;
    if (file == NULL) {
        return 2;
    }
    while (fread(&size, sizeof size, 1, file) == 1) {
        if (size > IMAGE_MAX || fread(image, 1, size, file) != size) {
            abort();
        }
        taken += compare(image, size);
    }
    fclose(file);
    free(image);
    printf("%d\n", taken);
    return 0;
}
