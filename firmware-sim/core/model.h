/* The program that runs, in place in flash, and how it does: inferences, errors, latency. */

#ifndef WHERRY_FW_MODEL_H
#define WHERRY_FW_MODEL_H

#include "status.h"
#include "wherry/engine.h"
#include "wherry/histogram.h"

typedef struct {
    uint8_t *arena;             /* the caller's, aligned to 16 */
    uint32_t arena_size;
    bool is_loaded;
    wh_program program;
    uint32_t input_size;        /* bytes of all inputs */
    uint32_t output_size;
    uint32_t input_taken;       /* bytes of the next inference's inputs that have come */
    uint64_t inference_count;   /* that gave an output */
    uint64_t error_count;       /* that the engine ended with a status */
    uint64_t refused_count;     /* requests that never became an inference */
    uint64_t cycles;            /* spent in inferences, if the board counts them */
    wh_histogram latency;
} fw_model;

/* Would this payload run here? FW_OK, FW_ERR_INVALID_PROGRAM, FW_ERR_NO_MEMORY or
 * FW_ERR_OUTPUT_TOO_LARGE (its output does not fit an answer). */
FW_MUST_CHECK int fw_model_check(const uint8_t *payload, uint32_t size, uint32_t arena_size);

/* Nothing loaded, all counts zero. */
void fw_model_clear(fw_model *model, uint8_t *arena, uint32_t arena_size);

/* Loads a payload that has been verified and stays where it is. As fw_model_check. */
FW_MUST_CHECK int fw_model_load(fw_model *model, const uint8_t *payload, uint32_t size);

/* Takes a piece of the inputs' bytes, in order; offset 0 begins anew. FW_OK, FW_ERR_NO_MODEL,
 * FW_ERR_INPUT_OFFSET or FW_ERR_INPUT_TOO_LONG. */
FW_MUST_CHECK int fw_model_take(fw_model *model, uint32_t offset, const uint8_t *data, size_t size);

bool fw_model_has_input(const fw_model *model);

/* One inference on the inputs that were taken. FW_OK or FW_ERR_ENGINE. */
FW_MUST_CHECK int fw_model_run(fw_model *model);

/* Accounts for the inference that has just run. */
void fw_model_record(fw_model *model, uint64_t duration_ns, uint64_t cycles);

/* The outputs one after another; `output` has room for output_size bytes. */
void fw_model_read(const fw_model *model, uint8_t *output);

/* A quantile of the latency in ns, q of 65536; 0 while there is none. */
uint64_t fw_model_latency_ns(const fw_model *model, uint32_t q);

#endif
