/* The replay source: samples from memory into the queue, one per period, for ever. */

#define _GNU_SOURCE

#include <errno.h>

#include "clocks.h"
#include "loop.h"

/* Lock held. */
static void offer(wh_loop *loop, uint64_t number)
{
    loop->stats.replayed += 1;
    if (!wh_loop_has_room(loop)) {
        loop->stats.rejected += 1;
        return;
    }
    loop->replay.pending += 1;
    wh_loop_push(loop, (wh_entry){.number = number, .is_replay = true});
}

/* Lock held. The time of the next sample; periods that have already passed are left out. */
static uint64_t next_due(wh_loop *loop, uint64_t due)
{
    uint64_t period = loop->replay.period_ns;
    uint64_t now = wh_clock_ns(CLOCK_MONOTONIC);
    due += period;
    if (now > due + period) {
        uint64_t missed = (now - due) / period;
        loop->stats.replay_late += missed;
        due += missed * period;
    }
    return due;
}

static void *feed(void *context)
{
    wh_loop *loop = context;
    wh_replay *replay = &loop->replay;
    uint64_t due = wh_clock_ns(CLOCK_MONOTONIC);
    uint64_t number = 0;
    (void)pthread_mutex_lock(&loop->lock);
    while (!replay->is_stopping) {
        struct timespec until = wh_timespec(due);
        if (wh_clock_ns(CLOCK_MONOTONIC) < due) {
            (void)pthread_cond_timedwait(&replay->stop, &loop->lock, &until);
            continue;
        }
        offer(loop, number);
        number += 1;
        due = next_due(loop, due);
    }
    (void)pthread_mutex_unlock(&loop->lock);
    return NULL;
}

int wh_loop_replay(wh_loop *loop, const uint8_t *samples, size_t sample_size, size_t sample_count,
                   uint64_t period_ns)
{
    if (samples == NULL || sample_size == 0 || sample_count == 0 || period_ns == 0) {
        return WH_ERR_ARGUMENT;
    }
    (void)pthread_mutex_lock(&loop->lock);
    wh_replay *replay = &loop->replay;
    int status = WH_OK;
    if (!loop->is_running || loop->is_stopping) {
        status = WH_ERR_STOPPED;
    } else if (replay->is_running) {
        status = WH_ERR_BUSY;
    } else {
        replay->samples =
            (wh_samples){.bytes = samples, .size = sample_size, .count = sample_count};
        replay->period_ns = period_ns;
        replay->is_stopping = false;
        status = wh_thread_start(&replay->thread, feed, loop);
        replay->is_running = status == WH_OK;
    }
    (void)pthread_mutex_unlock(&loop->lock);
    return status;
}

void wh_loop_stop_replay(wh_loop *loop)
{
    (void)pthread_mutex_lock(&loop->lock);
    wh_replay *replay = &loop->replay;
    bool is_mine = replay->is_running && !replay->is_stopping;
    replay->is_stopping = true;
    (void)pthread_cond_broadcast(&replay->stop);
    (void)pthread_mutex_unlock(&loop->lock);
    if (!is_mine) {
        return;
    }
    (void)pthread_join(replay->thread, NULL);
    (void)pthread_mutex_lock(&loop->lock);
    while (replay->pending > 0) {
        (void)pthread_cond_wait(&loop->idle, &loop->lock);
    }
    replay->is_running = false;
    (void)pthread_mutex_unlock(&loop->lock);
}
