/* Running a checked program, and the way to its inputs and outputs. */

#include <string.h>

#include "call.h"

static int check_arena(const wh_program *program, const void *arena, size_t arena_size)
{
    if (program == NULL || arena == NULL || (uintptr_t)arena % WH_ALIGNMENT != 0) {
        return WH_ERR_ARGUMENT;
    }
    return arena_size < program->arena_size ? WH_ERR_ARENA : WH_OK;
}

static void fill_with_zero_point(const wh_tensor *state, uint8_t *bytes)
{
    /* The loader admits only int8 and int16 states. */
    if (state->dtype == WH_INT8) {
        memset(bytes, (int)(uint8_t)state->zero_point, state->size);
        return;
    }
    int16_t value = (int16_t)state->zero_point;
    for (uint32_t at = 0; at < state->size; at += (uint32_t)sizeof value) {
        memcpy(bytes + at, &value, sizeof value);
    }
}

int wh_reset(const wh_program *program, void *arena, size_t arena_size)
{
    int status = check_arena(program, arena, arena_size);
    if (status != WH_OK) {
        return status;
    }
    for (uint32_t i = 0; i < program->header->state_count; i++) {
        const wh_tensor *state = wh_state(program, i);
        fill_with_zero_point(state, (uint8_t *)arena + state->offset);
    }
    return WH_OK;
}

/* As wh_prepare chose. */
static void run_steps(wh_call *call)
{
    const wh_step *step = call->program->steps;
    const wh_node *end = call->node + call->program->header->node_count;
    for (; call->node < end; call->node++, step++) {
        call->prepared = step->prepared;
        step->run(call);
    }
}

/* As loaded. */
static void run_nodes(wh_call *call)
{
    const wh_node *end = call->node + call->program->header->node_count;
    for (; call->node < end; call->node++) {
        call->program->kernels->of[call->node->op].run(call);
    }
}

int wh_run(const wh_program *program, void *arena, size_t arena_size)
{
    int status = check_arena(program, arena, arena_size);
    if (status != WH_OK) {
        return status;
    }
    wh_call call = {program, program->nodes, arena, NULL,
                    (uint8_t *)arena + program->scratch_offset};
    if (program->steps != NULL) {
        run_steps(&call);
    } else {
        run_nodes(&call);
    }
    return WH_OK;
}

static const wh_tensor *linked(const wh_program *program, uint32_t first, uint32_t count,
                               uint32_t index)
{
    return index < count ? &program->tensors[program->links[first + index]] : NULL;
}

const wh_tensor *wh_input(const wh_program *program, uint32_t index)
{
    return linked(program, 0, program->header->input_count, index);
}

const wh_tensor *wh_output(const wh_program *program, uint32_t index)
{
    const wh_program_header *header = program->header;
    return linked(program, header->input_count, header->output_count, index);
}

const wh_tensor *wh_state(const wh_program *program, uint32_t index)
{
    const wh_program_header *header = program->header;
    uint32_t first = (uint32_t)header->input_count + header->output_count;
    return linked(program, first, header->state_count, index);
}

const char *wh_name(const wh_program *program, uint32_t offset)
{
    return program->names + offset;
}
