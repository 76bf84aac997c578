#include "model.h"

#include <string.h>

#include "frame.h"

#define ANSWER_ROOM 256u   /* of a packet, for all that is not output */

typedef const wh_tensor *(*tensor_of)(const wh_program *, uint32_t);

static uint32_t total_size(const wh_program *program, tensor_of tensor)
{
    uint32_t size = 0;
    for (uint32_t i = 0; tensor(program, i); i++) {
        size += tensor(program, i)->size;   /* each lies in the arena, which has 32 bits */
    }
    return size;
}

static int load(wh_program *program, const uint8_t *payload, uint32_t size, uint32_t arena_size)
{
    if (wh_program_load(program, payload, size, NULL) != WH_OK) {
        return FW_ERR_INVALID_PROGRAM;
    }
    if (program->header->arena_size > arena_size) {
        return FW_ERR_NO_MEMORY;
    }
    if (total_size(program, wh_output) > FW_PACKET_MAX - ANSWER_ROOM) {
        return FW_ERR_OUTPUT_TOO_LARGE;
    }
    return FW_OK;
}

int fw_model_check(const uint8_t *payload, uint32_t size, uint32_t arena_size)
{
    wh_program program;
    return load(&program, payload, size, arena_size);
}

void fw_model_clear(fw_model *model, uint8_t *arena, uint32_t arena_size)
{
    memset(model, 0, sizeof *model);
    model->arena = arena;
    model->arena_size = arena_size;
    wh_histogram_reset(&model->latency);
}

int fw_model_load(fw_model *model, const uint8_t *payload, uint32_t size)
{
    int status = load(&model->program, payload, size, model->arena_size);
    if (status != FW_OK) {
        return status;
    }
    if (wh_reset(&model->program, model->arena, model->arena_size) != WH_OK) {
        return FW_ERR_INVALID_PROGRAM;
    }
    model->input_size = total_size(&model->program, wh_input);
    model->output_size = total_size(&model->program, wh_output);
    model->is_loaded = true;
    return FW_OK;
}

/* Copies the piece that begins at `offset` of the joined inputs to where the tensors lie. */
static void scatter(fw_model *model, uint32_t offset, const uint8_t *data, size_t size)
{
    uint32_t begin = 0;
    const wh_tensor *input;
    for (uint32_t i = 0; size > 0 && (input = wh_input(&model->program, i)) != NULL; i++) {
        uint32_t end = begin + input->size;
        if (offset < end) {
            size_t piece = end - offset < size ? end - offset : size;
            memcpy(model->arena + input->offset + (offset - begin), data, piece);
            offset += (uint32_t)piece;
            data += piece;
            size -= piece;
        }
        begin = end;
    }
}

int fw_model_take(fw_model *model, uint32_t offset, const uint8_t *data, size_t size)
{
    if (!model->is_loaded) {
        return FW_ERR_NO_MODEL;
    }
    if (offset != 0 && offset != model->input_taken) {
        return FW_ERR_INPUT_OFFSET;
    }
    if (size > model->input_size - offset) {
        return FW_ERR_INPUT_TOO_LONG;
    }
    scatter(model, offset, data, size);
    model->input_taken = offset + (uint32_t)size;
    return FW_OK;
}

bool fw_model_has_input(const fw_model *model)
{
    return model->is_loaded && model->input_taken == model->input_size;
}

int fw_model_run(fw_model *model)
{
    model->input_taken = 0;
    if (wh_run(&model->program, model->arena, model->arena_size) != WH_OK) {
        model->error_count++;
        return FW_ERR_ENGINE;
    }
    return FW_OK;
}

void fw_model_record(fw_model *model, uint64_t duration_ns, uint64_t cycles)
{
    model->inference_count++;
    model->cycles += cycles;
    wh_histogram_add(&model->latency, duration_ns);
}

void fw_model_read(const fw_model *model, uint8_t *output)
{
    const wh_tensor *tensor;
    for (uint32_t i = 0; (tensor = wh_output(&model->program, i)) != NULL; i++) {
        memcpy(output, model->arena + tensor->offset, tensor->size);
        output += tensor->size;
    }
}

uint64_t fw_model_latency_ns(const fw_model *model, uint32_t q)
{
    uint64_t latency_ns = 0;
    return wh_histogram_quantile(&model->latency, q, &latency_ns) == WH_OK ? latency_ns : 0;
}
