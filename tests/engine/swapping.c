/* Swaps instances and shadows under a continuous feed from several submitters and a replay; a
 * sanitizer watches. usage: swapping IMAGE_A IMAGE_B SWAPS
 *
 * Both programs take inputs of one length. Every submitter checks that each of its inputs is
 * answered, by one of the two tags. Prints answered and swaps. */

#define _GNU_SOURCE

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "wherry/host.h"

#define SUBMITTERS 3
#define SECOND 1000000000ull

static wh_loop *loop;
static atomic_int is_over;

static void fail(const char *what, int status)
{
    fprintf(stderr, "%s: %s\n", what, wh_error_name(status));
    exit(1);
}

static uint8_t *read_image(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *image = aligned_alloc(4096, 1 << 20);
    if (file == NULL || image == NULL) {
        fail(path, WH_ERR_ARGUMENT);
    }
    *size = fread(image, 1, 1 << 20, file);
    fclose(file);
    return image;
}

static wh_runner *runner_of(const uint8_t *image, size_t size)
{
    wh_runner *runner;
    int status = wh_runner_create(image, size, NULL, &runner, NULL);
    if (status != WH_OK) {
        fail("load", status);
    }
    return runner;
}

static const uint8_t own_samples[8] = {9, 8, 7, 6, 5};

static wh_instance *serve(const wh_runner *runner, uint64_t tag)
{
    wh_instance *instance;
    wh_limits limits = {.deadline_ns = SECOND};
    int status = wh_instance_create(runner, &limits, tag, &instance);
    if (status != WH_OK) {
        fail("create", status);
    }
    if (tag % 2 == 0) {
        wh_instance_feed(instance, own_samples, 4, 2);
    }
    return instance;
}

static void *submit(void *context)
{
    static const uint8_t sample[4] = {1, 2, 3, 4};
    (void)context;
    while (!atomic_load(&is_over)) {
        wh_answer answer;
        int status = wh_loop_infer(loop, sample, sizeof sample, 10 * SECOND, &answer);
        if (status != WH_OK || answer.status != WH_OK || (answer.tag != 1 && answer.tag != 2)) {
            fail("an input was not answered", status != WH_OK ? status : answer.status);
        }
        wh_answer_free(&answer);
    }
    return NULL;
}

static void start(void)
{
    int status = wh_loop_create(16, 8, &loop);
    if (status == WH_OK) {
        status = wh_loop_start(loop);
    }
    if (status != WH_OK) {
        fail("start", status);
    }
}

static uint64_t answered(void)
{
    wh_loop_stats stats;
    wh_loop_stats_copy(loop, &stats);
    return stats.answered;
}

/* Every swap meets a loop that is at work: at least one answer lies between two of them. */
static void wait_for_an_answer(void)
{
    uint64_t before = answered();
    while (answered() == before) {
        (void)sched_yield();
    }
}

/* A new shadow in the place of the old one, which is freed at once; what it kept is taken. */
static wh_instance *shadow_with(const wh_runner *runner, wh_instance *before)
{
    static const wh_shadow_config config = {
        .sample_bp = 9000, .comparator = WH_COMPARE_TOLERANCE, .deadline_ns = SECOND};
    wh_instance *next = serve(runner, 3);
    uint8_t bytes[4 + 2 * 300];
    uint64_t sequence;
    wh_shadow_stats stats;
    wh_loop_shadow_stats_copy(loop, &stats);
    while (wh_loop_take_disagreement(loop, &sequence, bytes, 4 + 2 * 3) == WH_OK ||
           wh_loop_take_disagreement(loop, &sequence, bytes, sizeof bytes) == WH_OK) {
    }
    int status = wh_loop_shadow(loop, next, &config);
    if (status != WH_OK) {
        fail("shadow", status);
    }
    wh_instance_free(before);
    return next;
}

/* A new instance each time; the old one is freed as soon as the swap returns. */
static wh_instance *swap_many(int count, wh_runner *const runners[2], wh_instance *active)
{
    wh_instance *shadow = NULL;
    for (int i = 0; i < count; i++) {
        wh_instance *next = serve(runners[i % 2], 1 + (uint64_t)i % 2);
        if (i % 3 == 0) {
            shadow = shadow_with(runners[i / 3 % 2], shadow);
        }
        wait_for_an_answer();
        int status = wh_loop_swap(loop, next);
        if (status != WH_OK) {
            fail("swap", status);
        }
        wh_instance_free(active);
        active = next;
        wh_instance_stats stats;
        wh_instance_stats_copy(active, &stats);
        wh_answer answer;
        if (wh_loop_take_output(loop, &answer) == WH_OK) {
            wh_answer_free(&answer);
        }
    }
    if (wh_loop_shadow(loop, NULL, NULL) != WH_OK) {
        fail("no shadow", WH_ERR_BUSY);
    }
    wh_instance_free(shadow);
    return active;
}

static void check_nothing_was_dropped(void)
{
    wh_loop_stats stats;
    wh_loop_stats_copy(loop, &stats);
    if (stats.accepted != stats.answered || stats.without_model != 0 || stats.withdrawn != 0) {
        fail("inputs were dropped", WH_ERR_STOPPED);
    }
    printf("%lu %lu\n", (unsigned long)stats.answered, (unsigned long)stats.swaps);
}

int main(int argc, char **argv)
{
    static const uint8_t samples[12] = {5, 6, 7, 8, 9};
    uint8_t *images[2];
    size_t sizes[2];
    pthread_t threads[SUBMITTERS];
    if (argc != 4) {
        return 2;
    }
    images[0] = read_image(argv[1], &sizes[0]);
    images[1] = read_image(argv[2], &sizes[1]);
    wh_runner *runners[2] = {runner_of(images[0], sizes[0]), runner_of(images[1], sizes[1])};
    start();
    wh_instance *active = serve(runners[0], 1);
    if (wh_loop_swap(loop, active) != WH_OK ||
        wh_loop_replay(loop, samples, 4, 3, 20000) != WH_OK) {
        fail("begin", WH_ERR_BUSY);
    }
    for (int i = 0; i < SUBMITTERS; i++) {
        if (pthread_create(&threads[i], NULL, submit, NULL) != 0) {
            fail("thread", WH_ERR_THREAD);
        }
    }
    active = swap_many(atoi(argv[3]), runners, active);
    atomic_store(&is_over, 1);
    for (int i = 0; i < SUBMITTERS; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    wh_loop_stop(loop);
    check_nothing_was_dropped();
    wh_loop_free(loop);
    wh_instance_free(active);
    wh_runner_free(runners[0]);
    wh_runner_free(runners[1]);
    free(images[0]);
    free(images[1]);
    return 0;
}
