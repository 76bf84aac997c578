"""Builds `wherry_native._engine`, the cffi binding (API mode) of native/csrc. Build time only."""

from pathlib import Path

from cffi import FFI

CSRC = Path("native/csrc")

DECLARATIONS = """
struct wh_kernels;
typedef struct { uint16_t part; uint32_t index; } wh_location;
typedef struct { uint64_t macs; uint32_t image_size; uint32_t arena_size; uint16_t node_count;
                 uint16_t input_count; uint16_t output_count; uint16_t state_count;
                 uint16_t engine_abi; uint32_t name; ...; } wh_program_header;
typedef struct { uint8_t dtype; uint8_t rank; int32_t zero_point; uint32_t scale_bits;
                 uint32_t size; uint32_t dims[5]; uint32_t name; ...; } wh_tensor;
typedef struct { uint16_t op; uint32_t name; ...; } wh_node;
typedef struct { const wh_program_header *header; const wh_tensor *tensors; const wh_node *nodes;
                 const struct wh_kernels *kernels; size_t arena_size; ...; } wh_program;
#define WH_ENGINE_ABI ...
#define WH_ENGINE_ABI_MIN ...
#define WH_ERR_KERNELS ...
#define WH_ERR_TRUNCATED ...
#define WH_ERR_EMPTY ...
#define WH_PROGRAM_FORMAT ...
const struct wh_kernels *wh_kernels_at(uint32_t index);
int wh_choose_kernels(const char *name, const struct wh_kernels **kernels);
const char *wh_kernels_name(const struct wh_kernels *kernels);
size_t wh_prepare_size(const wh_program *program, const struct wh_kernels *kernels);
const char *wh_error_name(int status);
const char *wh_op_name(uint32_t op);
const char *wh_name(const wh_program *program, uint32_t offset);
const wh_tensor *wh_input(const wh_program *program, uint32_t index);
const wh_tensor *wh_output(const wh_program *program, uint32_t index);

typedef struct wh_runner wh_runner;
int wh_runner_create(const void *image, size_t image_size, const char *kernels, wh_runner **runner,
                     wh_location *where);
void wh_runner_free(wh_runner *runner);
const wh_program *wh_runner_program(const wh_runner *runner);
int wh_runner_infer(wh_runner *runner, const uint8_t *input, size_t input_size, uint8_t *output,
                    size_t output_size);
int wh_runner_reset(wh_runner *runner);
size_t wh_input_bytes(const wh_program *program);
size_t wh_output_bytes(const wh_program *program);

#define WH_HISTOGRAM_BUCKETS 2048
typedef struct { uint64_t count; uint64_t sum_ns; uint64_t max_ns; uint32_t buckets[2048]; ...; }
    wh_histogram;
void wh_histogram_add(wh_histogram *h, uint64_t duration_ns);
void wh_histogram_merge(wh_histogram *into, const wh_histogram *from);
int wh_histogram_quantile(const wh_histogram *h, uint32_t q, uint64_t *duration_ns);
uint32_t wh_histogram_bucket(uint64_t duration_ns);
uint64_t wh_histogram_upper_edge_ns(uint32_t bucket);

typedef struct { uint64_t count; uint64_t sum_ns; uint64_t max_ns; ...; } wh_sketch_totals;
#define WH_SKETCH_BYTES_MAX ...
int wh_sketch_read(const uint8_t *data, size_t size, wh_sketch_totals *totals);
int wh_sketch_merge(const uint8_t *first, size_t first_size, const uint8_t *second,
                    size_t second_size, uint8_t *out, size_t *out_size);
int wh_sketch_at_rank(const uint8_t *data, size_t size, uint64_t rank, uint64_t *duration_ns);

typedef struct wh_instance wh_instance;
typedef struct { uint64_t deadline_ns; uint8_t has_valid_range; int32_t valid_min;
                 int32_t valid_max; ...; } wh_limits;
typedef struct { uint64_t inferences; uint64_t errors; uint64_t errors_engine;
                 uint64_t errors_deadline; uint64_t errors_range; uint64_t refused;
                 uint64_t cpu_ns; uint64_t cycles; wh_histogram latency; ...; } wh_instance_stats;
int wh_instance_create(const wh_runner *runner, const wh_limits *limits, uint64_t tag,
                       wh_instance **instance);
void wh_instance_free(wh_instance *instance);
int wh_instance_reset(wh_instance *instance);
void wh_instance_feed(wh_instance *instance, const uint8_t *samples, size_t size, size_t count);
void wh_instance_stats_copy(wh_instance *instance, wh_instance_stats *stats);
int wh_instance_last_output(wh_instance *instance, uint8_t *output, size_t size);

typedef struct wh_loop wh_loop;
enum { WH_DEADLINE_MISSED = 1, WH_OUT_OF_RANGE = 2 };
typedef struct { int32_t status; uint32_t flags; uint64_t sequence; uint64_t tag;
                 uint64_t latency_ns; uint64_t finished_ns; uint8_t *output; size_t output_size;
                 ...; } wh_answer;
typedef struct { uint64_t accepted; uint64_t answered; uint64_t withdrawn; uint64_t rejected;
                 uint64_t without_model; uint64_t outputs_lost; uint64_t swaps; uint64_t replayed;
                 uint64_t replay_late; uint32_t queued; ...; } wh_loop_stats;
int wh_loop_create(uint32_t queue_capacity, uint32_t output_capacity, wh_loop **loop);
void wh_loop_free(wh_loop *loop);
int wh_loop_start(wh_loop *loop);
void wh_loop_stop(wh_loop *loop);
int wh_loop_swap(wh_loop *loop, wh_instance *instance);
int wh_loop_swap_keeping(wh_loop *loop, wh_instance *instance, int *is_kept);
int wh_loop_infer(wh_loop *loop, const uint8_t *input, size_t input_size, uint64_t timeout_ns,
                  wh_answer *answer);
int wh_loop_replay(wh_loop *loop, const uint8_t *samples, size_t sample_size, size_t sample_count,
                   uint64_t period_ns);
void wh_loop_stop_replay(wh_loop *loop);
int wh_loop_take_output(wh_loop *loop, wh_answer *answer);
void wh_loop_stats_copy(wh_loop *loop, wh_loop_stats *stats);
void wh_answer_free(wh_answer *answer);

typedef struct { uint32_t sample_bp; uint32_t comparator; uint32_t tolerance_lsb;
                 uint64_t deadline_ns; ...; } wh_shadow_config;
typedef struct { uint64_t compared; uint64_t agreed; uint64_t agreed_argmax;
                 uint64_t agreed_tolerance; uint64_t errors; int32_t error;
                 uint64_t skipped_sampling; uint64_t skipped_energy; uint64_t skipped_temperature;
                 uint64_t skipped_deadline; wh_histogram primary_latency; ...; } wh_shadow_stats;
int wh_loop_shadow(wh_loop *loop, wh_instance *instance, const wh_shadow_config *config);
void wh_loop_hold_shadow(wh_loop *loop, uint32_t hold);
void wh_loop_shadow_stats_copy(wh_loop *loop, wh_shadow_stats *stats);
int wh_loop_take_disagreement(wh_loop *loop, uint64_t *sequence, uint8_t *bytes, size_t size);
uint32_t wh_shadow_draw(uint64_t sequence);
"""

ffibuilder = FFI()
ffibuilder.cdef(DECLARATIONS)
ffibuilder.set_source(
    "wherry_native._engine",
    "".join(f'#include "wherry/{name}.h"\n' for name in ("engine", "histogram", "host", "sketch")),
    sources=sorted(str(path) for path in CSRC.rglob("*.c")),
    depends=sorted(str(path) for path in CSRC.rglob("*.h")),
    include_dirs=[str(CSRC / "include")],
    libraries=["pthread"],
    # Python's own flags hold -fwrapv, which costs the depthwise kernel half of its speed.
    extra_compile_args=[
        "-std=c11",
        "-O3",
        "-g0",
        "-fno-wrapv",
        "-ffp-contract=off",
        "-Wall",
        "-Wextra",
    ],
)
