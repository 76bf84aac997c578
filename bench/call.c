/* Times wh_runner_infer from C: what an inference costs without Python.
 * usage: call IMAGE CALLS ROUNDS — prints the least mean of a round, in ns per call. */

#define _GNU_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "wherry/host.h"

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double round_ns(wh_runner *runner, long calls)
{
    static uint8_t input[1 << 16], output[1 << 16];
    const wh_program *program = wh_runner_program(runner);
    size_t input_size = wh_input_bytes(program);
    size_t output_size = wh_output_bytes(program);
    double start = now_ns();
    for (long i = 0; i < calls; i++) {
        if (wh_runner_infer(runner, input, input_size, output, output_size) != WH_OK) {
            exit(1);
        }
    }
    return (now_ns() - start) / (double)calls;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        return 2;
    }
    FILE *file = fopen(argv[1], "rb");
    uint8_t *image = aligned_alloc(4096, 1 << 20);
    wh_runner *runner;
    if (file == NULL || image == NULL) {
        return 1;
    }
    size_t size = fread(image, 1, 1 << 20, file);
    fclose(file);
    if (wh_runner_create(image, size, NULL, &runner, NULL) != WH_OK) {
        return 1;
    }
    double least = 1e18;
    for (long i = 0; i < atol(argv[3]); i++) {
        double mean = round_ns(runner, atol(argv[2]));
        least = mean < least ? mean : least;
    }
    printf("%.2f\n", least);
    wh_runner_free(runner);
    free(image);
    return 0;
}
