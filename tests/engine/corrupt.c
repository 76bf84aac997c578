/* Loads and runs many corruptions of one program; sanitizers watch.
 *
 * usage: corrupt IMAGE | corrupt --each FILE
 *
 * With --each, FILE has many images, each after its size (u32); they are loaded as they are.
 * Every byte of the image gets each of its eight bits flipped and three other values; every aligned
 * 32-bit word of the structure gets values at the edges. Whatever loads is run on an arena of
 * exactly the size asked for, as it was loaded and prepared by all kernels of this processor, in
 * memory of exactly the size asked for; all must give the same outputs. Prints how many loaded and
 * how many were refused. */

#define _POSIX_C_SOURCE 200809L

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/host.h"

/* Arenas beyond this are not allocated: what is tested is the engine, not the machine. */
#define ARENA_MAX (1u << 22)

static unsigned long loaded, refused;

/* Aligned memory of exactly `size` bytes. */
static uint8_t *exactly(size_t size)
{
    void *memory = NULL;
    if (posix_memalign(&memory, WH_ALIGNMENT, size) != 0) {
        abort();
    }
    return memory;
}

static void must(int status)
{
    if (status != WH_OK) {
        fprintf(stderr, "a loaded program did not run: %s\n", wh_error_name(status));
        abort();
    }
}

/* The arena after two inferences, its tensors at least; the caller frees it. */
static uint8_t *run(const wh_program *program)
{
    uint8_t *arena = exactly(program->arena_size);
    memset(arena, 0x5A, program->arena_size);
    for (int pass = 0; pass < 2; pass++) {
        must(wh_reset(program, arena, program->arena_size));
        must(wh_run(program, arena, program->arena_size));
    }
    return arena;
}

static void compare_outputs(const wh_program *program, const uint8_t *one, const uint8_t *other)
{
    const wh_tensor *output;
    for (uint32_t i = 0; (output = wh_output(program, i)) != NULL; i++) {
        if (memcmp(one + output->offset, other + output->offset, output->size) != 0) {
            fprintf(stderr, "%s differ from the portable kernels\n",
                    wh_kernels_name(program->kernels));
            abort();
        }
    }
}

static void run_by_all(const wh_program *program)
{
    if (program->arena_size > ARENA_MAX) {
        return;
    }
    uint8_t *expected = run(program);
    const struct wh_kernels *kernels;
    for (uint32_t i = 0; (kernels = wh_kernels_at(i)) != NULL; i++) {
        wh_program prepared = *program;
        size_t size = wh_prepare_size(program, kernels);
        void *memory = NULL;
        if (posix_memalign(&memory, WH_PREPARED_ALIGNMENT, size) != 0) {
            abort();
        }
        must(wh_prepare(&prepared, kernels, memory, size));
        uint8_t *arena = run(&prepared);
        compare_outputs(&prepared, arena, expected);
        free(arena);
        free(memory);
    }
    free(expected);
}

/* In memory of exactly its size, so that a byte read beyond it is seen. */
static void load(const uint8_t *image, size_t size)
{
    uint8_t *copy = exactly(size);
    wh_program program;
    wh_location where;
    memcpy(copy, image, size);
    if (wh_program_load(&program, copy, size, &where) == WH_OK) {
        loaded++;
        run_by_all(&program);
    } else {
        refused++;
    }
    free(copy);
}

static void corrupt_byte(uint8_t *image, size_t size, size_t at)
{
    static const uint8_t values[] = {0x00, 0x7F, 0xFF};
    uint8_t original = image[at];
    for (int bit = 0; bit < 8; bit++) {
        image[at] = (uint8_t)(original ^ (1u << bit));
        load(image, size);
    }
    for (size_t i = 0; i < sizeof values; i++) {
        image[at] = values[i];
        load(image, size);
    }
    image[at] = original;
}

static void corrupt_word(uint8_t *image, size_t size, size_t at)
{
    static const uint32_t values[] = {
        0, 1, 2, 15, 16, 17, 255,
        65535, 65536, 0x7FFFFFF0u, 0x7FFFFFFFu, 0x80000000u, 0xFFFFFFF0u, 0xFFFFFFFFu,
    };
    uint32_t original;
    memcpy(&original, image + at, sizeof original);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        memcpy(image + at, &values[i], sizeof original);
        load(image, size);
    }
    for (uint32_t step = 1; step <= 64; step *= 4) {
        uint32_t moved[] = {original + step, original - step};
        for (int i = 0; i < 2; i++) {
            memcpy(image + at, &moved[i], sizeof original);
            load(image, size);
        }
    }
    memcpy(image + at, &original, sizeof original);
}

static uint8_t *read_image(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *image = exactly(1 << 20);
    if (file == NULL) {
        abort();
    }
    *size = fread(image, 1, 1 << 20, file);
    fclose(file);
    return image;
}

static void load_each(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *image = exactly(1 << 20);
    uint32_t size;
    if (file == NULL) {
        abort();
    }
    while (fread(&size, sizeof size, 1, file) == 1) {
        if (size > 1 << 20 || fread(image, 1, size, file) != size) {
            abort();
        }
        load(image, size);
    }
    fclose(file);
    free(image);
}

static void corrupt_everywhere(uint8_t *image, size_t size)
{
    for (size_t shorter = 0; shorter < size; shorter += 7) {
        load(image, shorter);
    }
    for (size_t at = 0; at < size; at++) {
        corrupt_byte(image, size, at);
    }
    uint32_t structure_size = ((const wh_program_header *)(const void *)image)->structure_size;
    for (size_t at = 0; at + 4 <= structure_size; at += 4) {
        corrupt_word(image, size, at);
    }
}

int main(int argc, char **argv)
{
    size_t size;
    if (argc == 3 && strcmp(argv[1], "--each") == 0) {
        load_each(argv[2]);
        printf("%lu %lu\n", loaded, refused);
        return 0;
    }
    if (argc != 2) {
        return 2;
    }
    uint8_t *image = read_image(argv[1], &size);
    load(image, size);
    if (loaded != 1) {
        fprintf(stderr, "the intact program was refused\n");
        return 1;
    }
    corrupt_everywhere(image, size);
    free(image);
    printf("%lu %lu\n", loaded, refused);
    return 0;
}
