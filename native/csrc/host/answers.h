/* A ring of answers that nobody may be reading: the oldest give way. The owner locks. */

#ifndef WHERRY_HOST_ANSWERS_H
#define WHERRY_HOST_ANSWERS_H

#include "wherry/host.h"

typedef struct {
    wh_answer *slots;
    uint32_t capacity;
    uint32_t first;
    uint32_t count;
} wh_answers;

WH_MUST_CHECK int wh_answers_create(wh_answers *ring, uint32_t capacity);
void wh_answers_free(wh_answers *ring);

/* Keeps the answer, whose output becomes the ring's; returns how many were lost for it. */
uint32_t wh_answers_push(wh_answers *ring, wh_answer answer);

/* WH_OK or WH_ERR_EMPTY; the output becomes the caller's. */
WH_MUST_CHECK int wh_answers_pop(wh_answers *ring, wh_answer *answer);

/* The answer with a copy of its output; the output is NULL when there is no memory. */
wh_answer wh_answer_copy(const wh_answer *answer);

#endif
