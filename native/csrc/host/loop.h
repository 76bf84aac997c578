/* The state of an inference loop, shared by loop.c (queue, worker, swap) and replay.c. */

#ifndef WHERRY_HOST_LOOP_H
#define WHERRY_HOST_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "answers.h"
#include "instance.h"
#include "shadow.h"
#include "wherry/host.h"

typedef enum { WH_QUEUED, WH_RUNNING, WH_DONE } wh_progress;

/* A submitter that waits; lives on its stack. */
typedef struct {
    wh_progress progress;
    pthread_cond_t done;
    wh_answer answer;
} wh_waiter;

/* An input in the queue. Its bytes belong to the submitter; a replay's are chosen when it is
 * answered. */
typedef struct {
    wh_bytes input;
    uint64_t sequence;
    wh_waiter *waiter;     /* NULL: nobody waits */
    uint64_t number;       /* of the replay's sample */
    bool is_replay;
    bool is_withdrawn;
} wh_entry;

typedef struct {
    pthread_t thread;
    pthread_cond_t stop;
    wh_samples samples;
    uint64_t period_ns;
    uint32_t pending;      /* entries in the queue or in work */
    bool is_running;
    bool is_stopping;
} wh_replay;

struct wh_loop {
    /* The worker makes `epoch` odd before it loads `active` and even after it has let go. */
    _Atomic(wh_instance *) active;
    atomic_uint_fast64_t epoch;

    pthread_mutex_t lock;  /* over everything below */
    pthread_cond_t work;   /* an entry has come, or the loop stops */
    pthread_cond_t room;   /* an entry has gone */
    pthread_cond_t idle;   /* the worker has let go of an instance */
    wh_entry *entries;
    uint32_t capacity;
    uint32_t first;
    uint32_t count;
    uint64_t next_sequence;
    bool is_running;
    bool is_stopping;
    bool is_serving;       /* the worker is between taking an entry and publishing its answer */
    bool is_held;          /* somebody waits for the moment between two inferences */
    pthread_t worker;
    wh_answers outputs;
    wh_loop_stats stats;
    wh_replay replay;
    wh_shadow shadow;
};

/* A thread that no signal is delivered to: signals are the program's, which may be waiting for
 * them. WH_OK or WH_ERR_THREAD. */
WH_MUST_CHECK int wh_thread_start(pthread_t *thread, void *(*function)(void *), wh_loop *loop);

/* Both with the lock held. */
bool wh_loop_has_room(const wh_loop *loop);
void wh_loop_push(wh_loop *loop, wh_entry entry);

#endif
