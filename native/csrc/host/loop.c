/* The inference loop: a bounded queue, one worker, and a swap between two inferences. */

#define _GNU_SOURCE

#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "clocks.h"

#define QUEUE_MAX 65536u

/* --- Making and unmaking ---------------------------------------------------------------- */

static int init_conditions(wh_loop *loop, pthread_condattr_t *monotonic)
{
    pthread_cond_t *conditions[] = {&loop->work, &loop->room, &loop->idle, &loop->replay.stop};
    for (size_t i = 0; i < sizeof conditions / sizeof conditions[0]; i++) {
        if (pthread_cond_init(conditions[i], monotonic) != 0) {
            return WH_ERR_THREAD; /* nothing to undo: glibc's and musl's own no memory */
        }
    }
    return WH_OK;
}

static int init_threads(wh_loop *loop)
{
    pthread_condattr_t monotonic;
    if (pthread_mutex_init(&loop->lock, NULL) != 0 || pthread_condattr_init(&monotonic) != 0 ||
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) != 0) {
        return WH_ERR_THREAD;
    }
    int status = init_conditions(loop, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    return status;
}

int wh_loop_create(uint32_t queue_capacity, uint32_t output_capacity, wh_loop **loop)
{
    *loop = NULL;
    if (queue_capacity == 0 || queue_capacity > QUEUE_MAX || output_capacity > QUEUE_MAX) {
        return WH_ERR_ARGUMENT;
    }
    wh_loop *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return WH_ERR_MEMORY;
    }
    made->capacity = queue_capacity;
    made->entries = calloc(queue_capacity, sizeof *made->entries);
    int status = made->entries != NULL ? wh_answers_create(&made->outputs, output_capacity)
                                       : WH_ERR_MEMORY;
    if (status == WH_OK) {
        status = init_threads(made);
    }
    if (status != WH_OK) {
        wh_answers_free(&made->outputs);
        free(made->entries);
        free(made);
        return status;
    }
    *loop = made;
    return WH_OK;
}

void wh_loop_free(wh_loop *loop)
{
    if (loop == NULL) {
        return;
    }
    wh_loop_stop(loop);
    wh_instance *active = atomic_exchange(&loop->active, NULL);
    if (active != NULL) {
        wh_instance_release(active);
    }
    wh_shadow_empty(&loop->shadow);
    wh_answers_free(&loop->outputs);
    (void)pthread_cond_destroy(&loop->work);
    (void)pthread_cond_destroy(&loop->room);
    (void)pthread_cond_destroy(&loop->idle);
    (void)pthread_cond_destroy(&loop->replay.stop);
    (void)pthread_mutex_destroy(&loop->lock);
    free(loop->entries);
    free(loop);
}

/* --- The queue (lock held) --------------------------------------------------------------- */

bool wh_loop_has_room(const wh_loop *loop)
{
    return loop->count < loop->capacity;
}

void wh_loop_push(wh_loop *loop, wh_entry entry)
{
    entry.sequence = loop->next_sequence++;
    loop->entries[(loop->first + loop->count) % loop->capacity] = entry;
    loop->count += 1;
    loop->stats.accepted += 1;
    (void)pthread_cond_signal(&loop->work);
}

static wh_entry pop(wh_loop *loop)
{
    wh_entry entry = loop->entries[loop->first];
    loop->first = (loop->first + 1) % loop->capacity;
    loop->count -= 1;
    (void)pthread_cond_signal(&loop->room);
    return entry;
}

static void withdraw(wh_loop *loop, const wh_waiter *waiter)
{
    for (uint32_t i = 0; i < loop->count; i++) {
        wh_entry *entry = &loop->entries[(loop->first + i) % loop->capacity];
        if (entry->waiter == waiter) {
            entry->waiter = NULL;
            entry->is_withdrawn = true;
            loop->stats.withdrawn += 1;
        }
    }
}

/* --- The worker -------------------------------------------------------------------------- */

/* True where the shadow has a pair of input and answer. */
static bool answer_entry(wh_loop *loop, const wh_entry *entry, bool is_shadowed, wh_answer *answer)
{
    bool has_pair = false;
    atomic_fetch_add(&loop->epoch, 1);
    wh_instance *instance = atomic_load(&loop->active);
    if (instance != NULL) {
        wh_bytes input = entry->is_replay
                             ? wh_instance_sample(instance, &loop->replay.samples, entry->number)
                             : entry->input;
        wh_instance_answer(instance, input, answer);
        has_pair = is_shadowed && wh_shadow_copy(&loop->shadow, wh_instance_program(instance),
                                                 input.bytes, input.size, answer);
    } else {
        *answer = (wh_answer){.status = WH_ERR_NO_MODEL,
                              .finished_ns = wh_clock_ns(CLOCK_MONOTONIC)};
    }
    atomic_fetch_add(&loop->epoch, 1);
    answer->sequence = entry->sequence;
    return has_pair;
}

static void publish(wh_loop *loop, const wh_entry *entry, wh_answer answer, wh_answer copy)
{
    loop->stats.answered += 1;
    loop->stats.without_model += answer.status == WH_ERR_NO_MODEL;
    if (loop->outputs.capacity > 0) {
        loop->stats.outputs_lost += wh_answers_push(&loop->outputs, copy);
    }
    if (entry->waiter != NULL) {
        entry->waiter->answer = answer;
        entry->waiter->progress = WH_DONE;
        (void)pthread_cond_signal(&entry->waiter->done);
    }
}

/* After the answer was handed out. Lock held on entry and on return, not in between. */
static void run_shadow(wh_loop *loop, uint64_t sequence, uint64_t latency_ns)
{
    if (wh_shadow_has_time(&loop->shadow, loop->count > 0 || loop->is_stopping, latency_ns)) {
        wh_answer answer;
        (void)pthread_mutex_unlock(&loop->lock);
        wh_shadow_run(&loop->shadow, &answer);
        (void)pthread_mutex_lock(&loop->lock);
        wh_shadow_end(&loop->shadow, &answer, sequence, latency_ns);
        wh_answer_free(&answer);
    }
}

/* Lock held on entry and on return, not in between. */
static void serve(wh_loop *loop, wh_entry entry)
{
    if (entry.waiter != NULL) {
        entry.waiter->progress = WH_RUNNING;
    }
    bool is_shadowed = wh_shadow_begin(&loop->shadow, entry.sequence);
    loop->is_serving = true;
    (void)pthread_mutex_unlock(&loop->lock);
    wh_answer answer;
    wh_answer copy = {0};
    bool has_pair = answer_entry(loop, &entry, is_shadowed, &answer);
    uint64_t latency_ns = answer.latency_ns;
    if (loop->outputs.capacity > 0) {
        /* Who waits gets the original, the ring a copy; alone, the ring gets the original. */
        copy = entry.waiter != NULL ? wh_answer_copy(&answer) : answer;
    } else if (entry.waiter == NULL) {
        wh_answer_free(&answer);
    }
    (void)pthread_mutex_lock(&loop->lock);
    loop->is_serving = false;
    publish(loop, &entry, answer, copy);
    (void)pthread_cond_broadcast(&loop->idle);
    if (has_pair) {
        run_shadow(loop, entry.sequence, latency_ns);
    }
    if (is_shadowed) {
        loop->shadow.is_in_use = false;
        (void)pthread_cond_broadcast(&loop->idle);
    }
}

static void *work(void *context)
{
    wh_loop *loop = context;
    (void)pthread_mutex_lock(&loop->lock);
    while (loop->count > 0 || !loop->is_stopping) {
        if (loop->count == 0 || loop->is_held) {
            (void)pthread_cond_wait(&loop->work, &loop->lock);
            continue;
        }
        wh_entry entry = pop(loop);
        if (!entry.is_withdrawn) {
            serve(loop, entry);
        }
        if (entry.is_replay) {
            loop->replay.pending -= 1;
            (void)pthread_cond_broadcast(&loop->idle);
        }
    }
    (void)pthread_mutex_unlock(&loop->lock);
    return NULL;
}

int wh_thread_start(pthread_t *thread, void *(*function)(void *), wh_loop *loop)
{
    sigset_t all, before;
    if (sigfillset(&all) != 0 || pthread_sigmask(SIG_SETMASK, &all, &before) != 0) {
        return WH_ERR_THREAD;
    }
    int status = pthread_create(thread, NULL, function, loop) == 0 ? WH_OK : WH_ERR_THREAD;
    return pthread_sigmask(SIG_SETMASK, &before, NULL) == 0 ? status : WH_ERR_THREAD;
}

int wh_loop_start(wh_loop *loop)
{
    (void)pthread_mutex_lock(&loop->lock);
    int status = WH_OK;
    if (!loop->is_running) {
        loop->is_stopping = false;
        status = wh_thread_start(&loop->worker, work, loop);
        loop->is_running = status == WH_OK;
    }
    (void)pthread_mutex_unlock(&loop->lock);
    return status;
}

void wh_loop_stop(wh_loop *loop)
{
    wh_loop_stop_replay(loop);
    (void)pthread_mutex_lock(&loop->lock);
    bool is_mine = loop->is_running && !loop->is_stopping;
    loop->is_stopping = true;
    (void)pthread_cond_broadcast(&loop->work);
    (void)pthread_cond_broadcast(&loop->room);
    (void)pthread_mutex_unlock(&loop->lock);
    if (is_mine) {
        (void)pthread_join(loop->worker, NULL);
        (void)pthread_mutex_lock(&loop->lock);
        loop->is_running = false;
        (void)pthread_mutex_unlock(&loop->lock);
    }
}

/* --- Swapping ----------------------------------------------------------------------------- */

/* Returns when the worker holds no instance that it loaded before the call. */
static void wait_until_let_go(wh_loop *loop)
{
    uint_fast64_t seen = atomic_load(&loop->epoch);
    if (seen % 2 == 0) {
        return;
    }
    (void)pthread_mutex_lock(&loop->lock);
    while (atomic_load(&loop->epoch) == seen) {
        (void)pthread_cond_wait(&loop->idle, &loop->lock);
    }
    (void)pthread_mutex_unlock(&loop->lock);
}

int wh_loop_swap(wh_loop *loop, wh_instance *instance)
{
    if (instance != NULL && !wh_instance_claim(instance)) {
        return WH_ERR_BUSY;
    }
    wh_instance *old = atomic_exchange(&loop->active, instance);
    wait_until_let_go(loop);
    if (old != NULL) {
        wh_instance_release(old);
    }
    (void)pthread_mutex_lock(&loop->lock);
    loop->stats.swaps += 1;
    (void)pthread_mutex_unlock(&loop->lock);
    return WH_OK;
}

int wh_loop_swap_keeping(wh_loop *loop, wh_instance *instance, int *is_kept)
{
    *is_kept = 0;
    if (instance == NULL) {
        return WH_ERR_ARGUMENT;
    }
    if (!wh_instance_claim(instance)) {
        return WH_ERR_BUSY;
    }
    (void)pthread_mutex_lock(&loop->lock);
    loop->is_held = true;
    while (loop->is_serving) {
        (void)pthread_cond_wait(&loop->idle, &loop->lock);
    }
    wh_instance *old = atomic_load(&loop->active);
    *is_kept = old != NULL && wh_instance_take_states(instance, old);
    atomic_store(&loop->active, instance);
    loop->stats.swaps += 1;
    loop->is_held = false;
    (void)pthread_cond_broadcast(&loop->work);
    (void)pthread_mutex_unlock(&loop->lock);
    if (old != NULL) {
        wh_instance_release(old);
    }
    return WH_OK;
}

/* --- The shadow --------------------------------------------------------------------------- */

int wh_loop_shadow(wh_loop *loop, wh_instance *instance, const wh_shadow_config *config)
{
    if (instance != NULL && (config == NULL || config->sample_bp > 10000u)) {
        return WH_ERR_ARGUMENT;
    }
    (void)pthread_mutex_lock(&loop->lock);
    while (loop->shadow.is_in_use) {
        (void)pthread_cond_wait(&loop->idle, &loop->lock);
    }
    wh_shadow_empty(&loop->shadow);
    int status = WH_OK;
    if (instance != NULL && !wh_instance_claim(instance)) {
        status = WH_ERR_BUSY;
    } else if (instance != NULL) {
        status = wh_shadow_fill(&loop->shadow, instance, config);
        if (status != WH_OK) {
            wh_instance_release(instance);
        }
    }
    (void)pthread_mutex_unlock(&loop->lock);
    return status;
}

void wh_loop_hold_shadow(wh_loop *loop, uint32_t hold)
{
    (void)pthread_mutex_lock(&loop->lock);
    loop->shadow.hold = hold;
    (void)pthread_mutex_unlock(&loop->lock);
}

void wh_loop_shadow_stats_copy(wh_loop *loop, wh_shadow_stats *stats)
{
    (void)pthread_mutex_lock(&loop->lock);
    *stats = loop->shadow.stats;
    (void)pthread_mutex_unlock(&loop->lock);
}

int wh_loop_take_disagreement(wh_loop *loop, uint64_t *sequence, uint8_t *bytes, size_t size)
{
    (void)pthread_mutex_lock(&loop->lock);
    int status = wh_shadow_take(&loop->shadow, sequence, bytes, size);
    (void)pthread_mutex_unlock(&loop->lock);
    return status;
}

/* --- Submitting --------------------------------------------------------------------------- */

/* Lock held. WH_OK when there is room. */
static int wait_for_room(wh_loop *loop, const struct timespec *deadline)
{
    while (loop->is_running && !loop->is_stopping && !wh_loop_has_room(loop)) {
        if (pthread_cond_timedwait(&loop->room, &loop->lock, deadline) == ETIMEDOUT &&
            !wh_loop_has_room(loop)) {
            loop->stats.rejected += 1;
            return WH_ERR_QUEUE_FULL;
        }
    }
    return loop->is_running && !loop->is_stopping ? WH_OK : WH_ERR_STOPPED;
}

/* Lock held. What has begun is awaited whatever the deadline. */
static int wait_for_answer(wh_loop *loop, wh_waiter *waiter, const struct timespec *deadline)
{
    while (waiter->progress != WH_DONE) {
        if (waiter->progress == WH_RUNNING) {
            (void)pthread_cond_wait(&waiter->done, &loop->lock);
        } else if (pthread_cond_timedwait(&waiter->done, &loop->lock, deadline) == ETIMEDOUT &&
                   waiter->progress == WH_QUEUED) {
            withdraw(loop, waiter);
            return WH_ERR_TIMEOUT;
        }
    }
    return WH_OK;
}

static int init_waiter(wh_waiter *waiter)
{
    pthread_condattr_t monotonic;
    waiter->progress = WH_QUEUED;
    if (pthread_condattr_init(&monotonic) != 0) {
        return WH_ERR_THREAD;
    }
    int is_ready = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0 &&
                   pthread_cond_init(&waiter->done, &monotonic) == 0;
    (void)pthread_condattr_destroy(&monotonic);
    return is_ready ? WH_OK : WH_ERR_THREAD;
}

int wh_loop_infer(wh_loop *loop, const uint8_t *input, size_t input_size, uint64_t timeout_ns,
                  wh_answer *answer)
{
    if (input == NULL) {
        return WH_ERR_ARGUMENT;
    }
    wh_waiter waiter;
    int status = init_waiter(&waiter);
    if (status != WH_OK) {
        return status;
    }
    struct timespec deadline = wh_timespec(wh_clock_ns(CLOCK_MONOTONIC) + timeout_ns);
    (void)pthread_mutex_lock(&loop->lock);
    status = wait_for_room(loop, &deadline);
    if (status == WH_OK) {
        wh_loop_push(loop, (wh_entry){.input = {.bytes = input, .size = input_size},
                                      .waiter = &waiter});
        status = wait_for_answer(loop, &waiter, &deadline);
    }
    (void)pthread_mutex_unlock(&loop->lock);
    if (status == WH_OK) {
        *answer = waiter.answer;
    }
    (void)pthread_cond_destroy(&waiter.done);
    return status;
}

/* --- Looking ------------------------------------------------------------------------------ */

int wh_loop_take_output(wh_loop *loop, wh_answer *answer)
{
    (void)pthread_mutex_lock(&loop->lock);
    int status = wh_answers_pop(&loop->outputs, answer);
    (void)pthread_mutex_unlock(&loop->lock);
    return status;
}

void wh_loop_stats_copy(wh_loop *loop, wh_loop_stats *stats)
{
    (void)pthread_mutex_lock(&loop->lock);
    *stats = loop->stats;
    stats->queued = loop->count;
    (void)pthread_mutex_unlock(&loop->lock);
}
