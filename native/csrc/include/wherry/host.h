/* The engine on a host with memory and threads: C11, POSIX. Firmware never compiles this. */

#ifndef WHERRY_HOST_H
#define WHERRY_HOST_H

#include "wherry/engine.h"
#include "wherry/histogram.h"

/* --- A program with an arena of its own, for one caller at a time; others wait. --------------- */

typedef struct wh_runner wh_runner;

/* Loads the image (which must outlive the runner) and allocates its arena. On success *runner is
 * to be freed; on an error it is NULL and *where tells the place. */
WH_MUST_CHECK int wh_runner_create(const void *image, size_t image_size, wh_runner **runner,
                                   wh_location *where);
void wh_runner_free(wh_runner *runner);
const wh_program *wh_runner_program(const wh_runner *runner);

/* All inputs one after another in, all outputs one after another out, one inference. */
WH_MUST_CHECK int wh_runner_infer(wh_runner *runner, const uint8_t *input, size_t input_size,
                                  uint8_t *output, size_t output_size);

/* States become their zero point again. */
WH_MUST_CHECK int wh_runner_reset(wh_runner *runner);

/* Bytes of all inputs, of all outputs. */
size_t wh_input_bytes(const wh_program *program);
size_t wh_output_bytes(const wh_program *program);

/* Copies between a caller's bytes and the tensors in an arena; sizes are the caller's duty. */
void wh_write_inputs(const wh_program *program, uint8_t *arena, const uint8_t *input);
void wh_read_outputs(const wh_program *program, const uint8_t *arena, uint8_t *output);

#endif
