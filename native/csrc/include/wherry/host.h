/* The engine on a host with memory and threads: C11, POSIX. Firmware never compiles this. */

#ifndef WHERRY_HOST_H
#define WHERRY_HOST_H

#include "wherry/engine.h"
#include "wherry/histogram.h"

/* --- Kernels: what this processor can run. ---------------------------------------------- */

#define WH_KERNELS_VARIABLE "WHERRY_ENGINE_KERNELS"

/* Those that this processor can run, the fastest first, "portable" last; NULL beyond them. */
const struct wh_kernels *wh_kernels_at(uint32_t index);

/* By name; NULL takes the name from WHERRY_ENGINE_KERNELS, and the fastest where that is not set
 * or empty. WH_ERR_KERNELS where this processor has none of that name. */
WH_MUST_CHECK int wh_choose_kernels(const char *name, const struct wh_kernels **kernels);

/* --- A program with an arena of its own, for one caller at a time; others wait. --------- */

typedef struct wh_runner wh_runner;

/* Loads the image (which must outlive the runner), lets the kernels of that name (see
 * wh_choose_kernels) prepare it, and allocates its arena. On success *runner is to be freed; on an
 * error it is NULL and *where tells the place. */
WH_MUST_CHECK int wh_runner_create(const void *image, size_t image_size, const char *kernels,
                                   wh_runner **runner, wh_location *where);
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

/* --- An instance: a program that an inference loop serves, with its limits and statistics.  */

typedef struct wh_instance wh_instance;

typedef struct {
    uint64_t deadline_ns;     /* an inference that takes longer is an error; 0: none */
    uint8_t has_valid_range;  /* 0: every output is valid */
    int32_t valid_min;        /* quantized bounds of every element of the first output */
    int32_t valid_max;
} wh_limits;

typedef struct {
    uint64_t inferences;      /* inputs that this instance ran, whatever came of it */
    uint64_t errors;          /* of those: at least one of the three below */
    uint64_t errors_engine;
    uint64_t errors_deadline;
    uint64_t errors_range;
    uint64_t refused;         /* inputs of another length than the program's; no inferences */
    uint64_t cpu_ns;          /* of the loop's thread, inside inferences */
    uint64_t cycles;          /* time-stamp counter, inside inferences; 0 where there is none */
    wh_histogram latency;     /* of inferences, from input in the arena to outputs out of it */
} wh_instance_stats;

/* The runner's program with an arena of its own; the runner must outlive the instance. `tag` is the
 * owner's mark and travels with every answer. */
WH_MUST_CHECK int wh_instance_create(const wh_runner *runner, const wh_limits *limits, uint64_t tag,
                                     wh_instance **instance);

/* The instance must be in no loop. */
void wh_instance_free(wh_instance *instance);

const wh_program *wh_instance_program(const wh_instance *instance);

/* States become their zero point again. The instance must be in no loop. */
WH_MUST_CHECK int wh_instance_reset(wh_instance *instance);

/* What a replay feeds this instance: its own `count` samples of `size` bytes in the place of those
 * that the replay began with, as other scales need them. `samples` must stay as long as the
 * instance. `count` 0: none fits, and what is fed is refused. The instance must be in no loop. */
void wh_instance_feed(wh_instance *instance, const uint8_t *samples, size_t size, size_t count);

/* A consistent copy, at any time. */
void wh_instance_stats_copy(wh_instance *instance, wh_instance_stats *stats);

/* Copies the outputs of the latest inference; `size` is that of all outputs. WH_ERR_EMPTY before
 * the first one. */
WH_MUST_CHECK int wh_instance_last_output(wh_instance *instance, uint8_t *output, size_t size);

/* --- The loop: one thread that takes inputs in order and lets the active instance answer. -------
 *
 * Rules:
 * 1. Every accepted input is answered exactly once, in order, unless its submitter withdraws it by
 *    a timeout. Sequence numbers count accepted inputs from 0.
 * 2. The instance is chosen by one atomic load between two inferences. A swap is one atomic
 *    exchange; it returns after the loop has let go of the old instance, at most one inference
 *    later, and never touches the queue.
 * 3. Without an instance inputs are answered with WH_ERR_NO_MODEL. */

typedef struct wh_loop wh_loop;

enum { WH_DEADLINE_MISSED = 1, WH_OUT_OF_RANGE = 2 };

typedef struct {
    int32_t status;        /* WH_OK, WH_ERR_NO_MODEL, WH_ERR_INPUT_SIZE or the engine's */
    uint32_t flags;        /* WH_DEADLINE_MISSED, WH_OUT_OF_RANGE */
    uint64_t sequence;
    uint64_t tag;          /* of the instance that answered; 0 without one */
    uint64_t latency_ns;
    uint64_t finished_ns;  /* CLOCK_MONOTONIC */
    uint8_t *output;       /* the receiver's to free by wh_answer_free; NULL on an error */
    size_t output_size;
} wh_answer;

typedef struct {
    uint64_t accepted;         /* inputs that entered the queue */
    uint64_t answered;
    uint64_t withdrawn;        /* by a submitter's timeout while queued */
    uint64_t rejected;         /* the queue was full (for as long as the submitter would wait) */
    uint64_t without_model;    /* answered with WH_ERR_NO_MODEL */
    uint64_t outputs_lost;     /* overwritten in the output ring before anyone took them */
    uint64_t swaps;
    uint64_t replayed;         /* inputs that the replay source offered */
    uint64_t replay_late;      /* periods that the replay source could not keep */
    uint32_t queued;           /* now */
} wh_loop_stats;

/* `queue_capacity` inputs may wait; `output_capacity` answers are kept for wh_loop_take_output,
 * the oldest give way; 0 keeps none. */
WH_MUST_CHECK int wh_loop_create(uint32_t queue_capacity, uint32_t output_capacity, wh_loop **loop);

/* Stops first, if need be. Instances stay their owners'. */
void wh_loop_free(wh_loop *loop);

WH_MUST_CHECK int wh_loop_start(wh_loop *loop);

/* Ends the replay, answers what is queued, then ends the thread. Submitters get WH_ERR_STOPPED. */
void wh_loop_stop(wh_loop *loop);

/* NULL takes the model away. WH_ERR_BUSY when the instance already serves a loop. */
WH_MUST_CHECK int wh_loop_swap(wh_loop *loop, wh_instance *instance);

/* The same between two inferences: `instance` goes on from the states that the one before it has.
 * `*is_kept` says 0 where their states differ (names, types, shapes, quantization) or nobody
 * served; the instance then has its own. WH_ERR_ARGUMENT for NULL. */
WH_MUST_CHECK int wh_loop_swap_keeping(wh_loop *loop, wh_instance *instance, int *is_kept);

/* Submits and waits, at most `timeout_ns` for room in the queue and for the answer together; an
 * inference that has begun is always awaited. Returns WH_OK when there is an answer (whose own
 * status may be an error), else WH_ERR_QUEUE_FULL, WH_ERR_TIMEOUT, WH_ERR_STOPPED. */
WH_MUST_CHECK int wh_loop_infer(wh_loop *loop, const uint8_t *input, size_t input_size,
                                uint64_t timeout_ns, wh_answer *answer);

/* Feeds sample after sample, for ever, one per period, from `samples`, which must stay until
 * wh_loop_stop_replay has returned, or from those of whichever instance answers
 * (wh_instance_feed), also where it was swapped in while they waited. WH_ERR_BUSY when a replay
 * runs already. */
WH_MUST_CHECK int wh_loop_replay(wh_loop *loop, const uint8_t *samples, size_t sample_size,
                                 size_t sample_count, uint64_t period_ns);
void wh_loop_stop_replay(wh_loop *loop);

/* The oldest kept answer, or WH_ERR_EMPTY. */
WH_MUST_CHECK int wh_loop_take_output(wh_loop *loop, wh_answer *answer);

void wh_loop_stats_copy(wh_loop *loop, wh_loop_stats *stats);

/* --- The shadow of a loop: an instance that runs after the active one, and never answers. --------
 *
 * Rules:
 * 1. It runs on the loop's thread when the active one's answer was handed out, on a copy of the
 *    input. It does not begin while another input waits; one that comes meanwhile waits for one
 *    inference at most.
 * 2. Whether an input is in the sample is a hash of its sequence number.
 * 3. An input that it did not run on is counted under the first cause that held: sampling, energy
 *    or temperature (the owner's wh_loop_hold_shadow), deadline (somebody waits, or both inferences
 *    together would take longer than the deadline).
 * 4. Its errors are its own: it answers nobody, and the active instance does not know of it.
 * 5. Inputs come in the active program's quantization. Where the shadow's is another one, it runs
 *    on the same real values in its own; outputs are compared as real values. A program with other
 *    tensors, or without scales where the two differ, is not compared at all. */

enum { WH_COMPARE_ARGMAX = 1, WH_COMPARE_TOLERANCE = 2 };
enum { WH_HOLD_NONE = 0, WH_HOLD_ENERGY = 1, WH_HOLD_TEMPERATURE = 2 };

#define WH_DISAGREEMENTS_MAX 4u /* kept until they are taken; later ones are only counted */

typedef struct {
    uint32_t sample_bp;      /* inputs of 10,000 */
    uint32_t comparator;     /* WH_COMPARE_…: what `agreed` counts */
    uint32_t tolerance_lsb;  /* of every element of every output, in steps of the shadow's scale */
    uint64_t deadline_ns;    /* 0: none */
} wh_shadow_config;

typedef struct {
    uint64_t compared;
    uint64_t agreed;             /* by the comparator */
    uint64_t agreed_argmax;      /* the first output's largest element is the same one */
    uint64_t agreed_tolerance;
    uint64_t errors;             /* of the engine, in the shadow */
    int32_t error;               /* the last of them */
    uint64_t skipped_sampling;
    uint64_t skipped_energy;
    uint64_t skipped_temperature;
    uint64_t skipped_deadline;
    wh_histogram primary_latency; /* of the active instance on the inputs that were compared */
} wh_shadow_stats;

/* NULL takes the shadow away; returns when the loop has let go of it. Its statistics are final
 * then, and stay until another one is set, whose own begin anew.
 * WH_ERR_BUSY when the instance is in a loop already, WH_ERR_MEMORY, WH_ERR_ARGUMENT. */
WH_MUST_CHECK int wh_loop_shadow(wh_loop *loop, wh_instance *instance,
                                 const wh_shadow_config *config);

/* WH_HOLD_NONE lets it run again. */
void wh_loop_hold_shadow(wh_loop *loop, uint32_t hold);

void wh_loop_shadow_stats_copy(wh_loop *loop, wh_shadow_stats *stats);

/* The oldest kept disagreement: input, the active one's outputs, the shadow's, one after another,
 * `size` bytes in all. WH_ERR_EMPTY; WH_ERR_OUTPUT_SIZE where `size` is not theirs. */
WH_MUST_CHECK int wh_loop_take_disagreement(wh_loop *loop, uint64_t *sequence, uint8_t *bytes,
                                            size_t size);

/* The number in 0..9999 that decides whether an input is in the sample. */
uint32_t wh_shadow_draw(uint64_t sequence);

void wh_answer_free(wh_answer *answer);

#endif
