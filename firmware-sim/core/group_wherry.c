/* Group 87: run the model, and say how it does. */

#include "firmware.h"

#include <string.h>

#define HISTOGRAM_PAIRS_MAX 256u   /* of an answer: at most 3 + 5 bytes each */

static void write_identity(const fw_firmware *fw, fw_writer *answer)
{
    char version[FW_VERSION_TEXT_MAX] = "";
    if (fw->model.is_loaded) {
        fw_version_text(&fw->running.version, version);
    }
    fw_put_text(answer, "version", version);
    fw_put_bytes(answer, "digest", fw->running.digest,
                 fw->model.is_loaded ? sizeof fw->running.digest : 0);
    fw_put_uint(answer, "slot", 0);
}

static uint64_t read_cycles(const fw_board *board)
{
    return board->cycles ? board->cycles(board->context) : 0;
}

static int run_measured(fw_firmware *fw, uint64_t *duration_ns)
{
    const fw_board *board = fw->board;
    uint64_t begin_ns = board->now_ns(board->context);
    uint64_t begin_cycles = read_cycles(board);
    int status = fw_model_run(&fw->model);
    uint64_t cycles = read_cycles(board) - begin_cycles;
    *duration_ns = board->now_ns(board->context) - begin_ns;
    if (status == FW_OK) {
        fw_model_record(&fw->model, *duration_ns, cycles);
    }
    return status;
}

/* Bounded by fw_model_check: a program whose output does not fit an answer is never loaded. */
static void write_output(fw_firmware *fw, fw_writer *answer)
{
    uint8_t output[FW_PACKET_MAX];
    fw_model_read(&fw->model, output);
    fw_put_bytes(answer, "out", output, fw->model.output_size);
}

static int take_input(fw_firmware *fw, const fw_map *request)
{
    const uint8_t *data;
    size_t size;
    uint32_t offset = 0;
    if (fw_map_uint(request, "off", UINT32_MAX, &offset) < 0 ||
        fw_map_bytes(request, "data", &data, &size) != 1) {
        return FW_ERR_INVALID;
    }
    return fw_model_take(&fw->model, offset, data, size);
}

int fw_wherry_infer(fw_firmware *fw, const fw_map *request, fw_writer *answer)
{
    int status = take_input(fw, request);
    if (status != FW_OK) {
        fw->model.refused_count++;
        return status;
    }
    fw_put_uint(answer, "off", fw->model.input_taken);
    if (fw_model_has_input(&fw->model)) {
        uint64_t duration_ns;
        status = run_measured(fw, &duration_ns);
        if (status != FW_OK) {
            return status;
        }
        fw_put_uint(answer, "ns", duration_ns);
        write_output(fw, answer);
    }
    write_identity(fw, answer);
    return FW_OK;
}

int fw_wherry_statistics(fw_firmware *fw, const fw_map *request, fw_writer *answer)
{
    const fw_model *model = &fw->model;
    const fw_board *board = fw->board;
    (void)request;
    fw_put_uint(answer, "count", model->inference_count);
    fw_put_uint(answer, "errors", model->error_count);
    fw_put_uint(answer, "refused", model->refused_count);
    fw_put_uint(answer, "sum_ns", model->latency.sum_ns);
    fw_put_uint(answer, "max_ns", model->latency.max_ns);
    fw_put_uint(answer, "p50_ns", fw_model_latency_ns(model, 32768));
    fw_put_uint(answer, "p95_ns", fw_model_latency_ns(model, 62259));
    fw_put_uint(answer, "p99_ns", fw_model_latency_ns(model, 64880));
    if (board->cycles) {
        fw_put_uint(answer, "cycles", model->cycles);
    }
    fw_put_bool(answer, "confirmed", fw_is_confirmed(fw));
    fw_put_uint(answer, "in_size", model->input_size);
    fw_put_uint(answer, "out_size", model->output_size);
    fw_put_uint(answer, "uptime_ms",
                (board->now_ns(board->context) - fw->started_ns) / 1000000u);
    fw_put_text(answer, "boot", fw_boot_name(fw->boot));
    write_identity(fw, answer);
    return FW_OK;
}

int fw_wherry_histogram(fw_firmware *fw, const fw_map *request, fw_writer *answer)
{
    uint32_t index = 0;
    uint32_t pairs = 0;
    if (fw_map_uint(request, "from", WH_HISTOGRAM_BUCKETS, &index) < 0) {
        return FW_ERR_INVALID;
    }
    fw_write_text(answer, "buckets");
    fw_write_array(answer);
    for (; index < WH_HISTOGRAM_BUCKETS && pairs < HISTOGRAM_PAIRS_MAX; index++) {
        uint32_t count = fw->model.latency.buckets[index];
        if (count != 0) {
            fw_write_uint(answer, index);
            fw_write_uint(answer, count);
            pairs++;
        }
    }
    fw_write_end(answer);
    if (index < WH_HISTOGRAM_BUCKETS) {
        fw_put_uint(answer, "next", index);
    }
    return FW_OK;
}
