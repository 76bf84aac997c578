/* A program that is ready, and a lock: what a caller needs to run a model by hand. */

#define _GNU_SOURCE

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ready.h"

struct wh_runner {
    wh_ready ready;
    pthread_mutex_t lock;
    size_t input_bytes;
    size_t output_bytes;
};

size_t wh_input_bytes(const wh_program *program)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < program->header->input_count; i++) {
        bytes += wh_input(program, i)->size;
    }
    return bytes;
}

size_t wh_output_bytes(const wh_program *program)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < program->header->output_count; i++) {
        bytes += wh_output(program, i)->size;
    }
    return bytes;
}

void wh_write_inputs(const wh_program *program, uint8_t *arena, const uint8_t *input)
{
    for (uint32_t i = 0; i < program->header->input_count; i++) {
        const wh_tensor *tensor = wh_input(program, i);
        memcpy(arena + tensor->offset, input, tensor->size);
        input += tensor->size;
    }
}

void wh_read_outputs(const wh_program *program, const uint8_t *arena, uint8_t *output)
{
    for (uint32_t i = 0; i < program->header->output_count; i++) {
        const wh_tensor *tensor = wh_output(program, i);
        memcpy(output, arena + tensor->offset, tensor->size);
        output += tensor->size;
    }
}

int wh_runner_create(const void *image, size_t image_size, const char *kernels,
                     wh_runner **runner, wh_location *where)
{
    *runner = NULL;
    wh_runner *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return WH_ERR_MEMORY;
    }
    if (pthread_mutex_init(&made->lock, NULL) != 0) {
        free(made);
        return WH_ERR_THREAD;
    }
    int status = wh_ready_make(&made->ready, image, image_size, kernels, where);
    if (status != WH_OK) {
        wh_runner_free(made);
        return status;
    }
    made->input_bytes = wh_input_bytes(&made->ready.program);
    made->output_bytes = wh_output_bytes(&made->ready.program);
    *runner = made;
    return WH_OK;
}

void wh_runner_free(wh_runner *runner)
{
    if (runner == NULL) {
        return;
    }
    wh_ready_free(&runner->ready);
    (void)pthread_mutex_destroy(&runner->lock);
    free(runner);
}

const wh_ready *wh_runner_ready(const wh_runner *runner)
{
    return &runner->ready;
}

const wh_program *wh_runner_program(const wh_runner *runner)
{
    return &runner->ready.program;
}

int wh_runner_infer(wh_runner *runner, const uint8_t *input, size_t input_size, uint8_t *output,
                    size_t output_size)
{
    if (input_size != runner->input_bytes) {
        return WH_ERR_INPUT_SIZE;
    }
    if (output_size != runner->output_bytes) {
        return WH_ERR_OUTPUT_SIZE;
    }
    const wh_program *program = &runner->ready.program;
    (void)pthread_mutex_lock(&runner->lock);
    wh_write_inputs(program, runner->ready.arena, input);
    int status = wh_ready_run(&runner->ready);
    wh_read_outputs(program, runner->ready.arena, output);
    (void)pthread_mutex_unlock(&runner->lock);
    return status;
}

int wh_runner_reset(wh_runner *runner)
{
    (void)pthread_mutex_lock(&runner->lock);
    int status = wh_ready_reset(&runner->ready);
    (void)pthread_mutex_unlock(&runner->lock);
    return status;
}
