/* An instance: program, arena, limits and statistics. */

#define _GNU_SOURCE

#include "instance.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "clocks.h"
#include "quantization.h"
#include "ready.h"

struct wh_instance {
    wh_ready ready;
    wh_limits limits;
    uint64_t tag;
    wh_samples own;           /* what a replay feeds it, where `is_fed` */
    bool is_fed;
    size_t input_bytes;
    size_t output_bytes;
    atomic_flag is_claimed;
    pthread_mutex_t lock;     /* over stats and last_output */
    wh_instance_stats stats;
    uint8_t *last_output;
};

typedef struct {
    uint64_t wall_ns, cpu_ns, cycles;
} instant;

/* The wall clock is read innermost, so that reading the slow clocks is not latency. */
static instant begin_now(void)
{
    instant t;
    t.cpu_ns = wh_clock_ns(CLOCK_THREAD_CPUTIME_ID);
    t.cycles = wh_cycles();
    t.wall_ns = wh_clock_ns(CLOCK_MONOTONIC);
    return t;
}

static instant end_now(void)
{
    instant t;
    t.wall_ns = wh_clock_ns(CLOCK_MONOTONIC);
    t.cycles = wh_cycles();
    t.cpu_ns = wh_clock_ns(CLOCK_THREAD_CPUTIME_ID);
    return t;
}

static int prepare(wh_instance *made, const wh_runner *runner)
{
    int status = wh_ready_share(&made->ready, wh_runner_ready(runner));
    if (status != WH_OK) {
        return status;
    }
    made->input_bytes = wh_input_bytes(&made->ready.program);
    made->output_bytes = wh_output_bytes(&made->ready.program);
    made->last_output = malloc(made->output_bytes);
    return made->last_output != NULL ? WH_OK : WH_ERR_MEMORY;
}

int wh_instance_create(const wh_runner *runner, const wh_limits *limits, uint64_t tag,
                       wh_instance **instance)
{
    *instance = NULL;
    wh_instance *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return WH_ERR_MEMORY;
    }
    if (pthread_mutex_init(&made->lock, NULL) != 0) {
        free(made);
        return WH_ERR_THREAD;
    }
    made->limits = *limits;
    made->tag = tag;
    atomic_flag_clear(&made->is_claimed);
    int status = prepare(made, runner);
    if (status != WH_OK) {
        wh_instance_free(made);
        return status;
    }
    *instance = made;
    return WH_OK;
}

void wh_instance_free(wh_instance *instance)
{
    if (instance == NULL) {
        return;
    }
    wh_ready_free(&instance->ready);
    free(instance->last_output);
    (void)pthread_mutex_destroy(&instance->lock);
    free(instance);
}

const wh_program *wh_instance_program(const wh_instance *instance)
{
    return &instance->ready.program;
}

int wh_instance_reset(wh_instance *instance)
{
    return wh_ready_reset(&instance->ready);
}

void wh_instance_feed(wh_instance *instance, const uint8_t *samples, size_t size, size_t count)
{
    instance->own = (wh_samples){.bytes = samples, .size = size, .count = count};
    instance->is_fed = true;
}

wh_bytes wh_instance_sample(const wh_instance *instance, const wh_samples *given, uint64_t number)
{
    const wh_samples *samples = instance->is_fed ? &instance->own : given;
    if (samples->count == 0) {
        return (wh_bytes){.bytes = NULL, .size = 0};
    }
    return (wh_bytes){.bytes = samples->bytes + (size_t)(number % samples->count) * samples->size,
                      .size = samples->size};
}

int wh_instance_claim(wh_instance *instance)
{
    return !atomic_flag_test_and_set(&instance->is_claimed);
}

void wh_instance_release(wh_instance *instance)
{
    atomic_flag_clear(&instance->is_claimed);
}

static int is_same_state(const wh_program *p, const wh_tensor *a, const wh_program *q,
                         const wh_tensor *b)
{
    return a->dtype == b->dtype && a->rank == b->rank && a->size == b->size &&
           memcmp(a->dims, b->dims, sizeof a->dims) == 0 && a->zero_point == b->zero_point &&
           a->scale_bits == b->scale_bits &&
           strcmp(wh_name(p, a->name), wh_name(q, b->name)) == 0;
}

int wh_instance_take_states(wh_instance *to, const wh_instance *from)
{
    const wh_program *p = &to->ready.program;
    const wh_program *q = &from->ready.program;
    uint32_t count = p->header->state_count;
    if (count == 0 || count != q->header->state_count) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!is_same_state(p, wh_state(p, i), q, wh_state(q, i))) {
            return 0;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        memcpy(to->ready.arena + wh_state(p, i)->offset,
               from->ready.arena + wh_state(q, i)->offset, wh_state(p, i)->size);
    }
    return 1;
}

static int is_out_of_range(const wh_instance *instance)
{
    if (!instance->limits.has_valid_range) {
        return 0;
    }
    const wh_tensor *output = wh_output(&instance->ready.program, 0);
    const uint8_t *bytes = instance->ready.arena + output->offset;
    size_t count = wh_element_count(output);
    for (size_t i = 0; i < count; i++) {
        int64_t value = wh_element(bytes, output->dtype, i);
        if (value < instance->limits.valid_min || value > instance->limits.valid_max) {
            return 1;
        }
    }
    return 0;
}

static void count_inference(wh_instance *instance, const wh_answer *answer, instant begin,
                            instant end)
{
    wh_instance_stats *stats = &instance->stats;
    int is_late = (answer->flags & WH_DEADLINE_MISSED) != 0;
    int is_outside = (answer->flags & WH_OUT_OF_RANGE) != 0;
    (void)pthread_mutex_lock(&instance->lock);
    stats->inferences += 1;
    stats->errors_engine += answer->status != WH_OK;
    stats->errors_deadline += (uint64_t)is_late;
    stats->errors_range += (uint64_t)is_outside;
    stats->errors += answer->status != WH_OK || is_late || is_outside;
    stats->cpu_ns += end.cpu_ns - begin.cpu_ns;
    stats->cycles += end.cycles - begin.cycles;
    wh_histogram_add(&stats->latency, answer->latency_ns);
    if (answer->output != NULL) {
        memcpy(instance->last_output, answer->output, instance->output_bytes);
    }
    (void)pthread_mutex_unlock(&instance->lock);
}

static void refuse(wh_instance *instance, wh_answer *answer)
{
    answer->status = WH_ERR_INPUT_SIZE;
    answer->finished_ns = wh_clock_ns(CLOCK_MONOTONIC);
    (void)pthread_mutex_lock(&instance->lock);
    instance->stats.refused += 1;
    (void)pthread_mutex_unlock(&instance->lock);
}

static void run(wh_instance *instance, const uint8_t *input, wh_answer *answer)
{
    const wh_program *program = &instance->ready.program;
    wh_write_inputs(program, instance->ready.arena, input);
    answer->status = wh_ready_run(&instance->ready);
    if (answer->status == WH_OK && answer->output == NULL) {
        answer->status = WH_ERR_MEMORY;
    }
    if (answer->status == WH_OK) {
        wh_read_outputs(program, instance->ready.arena, answer->output);
    }
}

void wh_instance_answer(wh_instance *instance, wh_bytes input, wh_answer *answer)
{
    *answer = (wh_answer){.tag = instance->tag};
    if (input.size != instance->input_bytes) {
        refuse(instance, answer);
        return;
    }
    answer->output = malloc(instance->output_bytes);
    answer->output_size = instance->output_bytes;
    instant begin = begin_now();
    run(instance, input.bytes, answer);
    instant end = end_now();
    answer->latency_ns = end.wall_ns - begin.wall_ns;
    answer->finished_ns = end.wall_ns;
    if (instance->limits.deadline_ns != 0 && answer->latency_ns > instance->limits.deadline_ns) {
        answer->flags |= WH_DEADLINE_MISSED;
    }
    if (answer->status == WH_OK && is_out_of_range(instance)) {
        answer->flags |= WH_OUT_OF_RANGE;
    }
    if (answer->status != WH_OK) {
        wh_answer_free(answer);
    }
    count_inference(instance, answer, begin, end);
}

void wh_instance_stats_copy(wh_instance *instance, wh_instance_stats *stats)
{
    (void)pthread_mutex_lock(&instance->lock);
    *stats = instance->stats;
    (void)pthread_mutex_unlock(&instance->lock);
}

int wh_instance_last_output(wh_instance *instance, uint8_t *output, size_t size)
{
    if (size != instance->output_bytes) {
        return WH_ERR_OUTPUT_SIZE;
    }
    (void)pthread_mutex_lock(&instance->lock);
    int is_there = instance->stats.inferences > instance->stats.errors_engine;
    if (is_there) {
        memcpy(output, instance->last_output, size);
    }
    (void)pthread_mutex_unlock(&instance->lock);
    return is_there ? WH_OK : WH_ERR_EMPTY;
}
