/* Loads and runs many corruptions of one program; sanitizers watch.
 *
 * usage: corrupt IMAGE | corrupt --each FILE
 *
 * With --each, FILE has many images, each after its size (u32); they are loaded as they are.
 * Every byte of the image gets each of its eight bits flipped and three other values; every aligned
 * 32-bit word of the structure gets values at the edges. Whatever loads is run on an arena of
 * exactly the size asked for. Prints how many loaded and how many were refused. */

#define _POSIX_C_SOURCE 200809L

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wherry/engine.h"

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

static void run(const wh_program *program)
{
    size_t size = program->header->arena_size;
    if (size > ARENA_MAX) {
        return;
    }
    uint8_t *arena = exactly(size);
    memset(arena, 0x5A, size);
    for (int pass = 0; pass < 2; pass++) {
        int status = wh_reset(program, arena, size);
        if (status == WH_OK) {
            status = wh_run(program, arena, size);
        }
        if (status != WH_OK) {
            fprintf(stderr, "a loaded program did not run: %s\n", wh_error_name(status));
            abort();
        }
    }
    free(arena);
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
        run(&program);
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
