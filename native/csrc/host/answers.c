/* A ring of answers. */

#include "answers.h"

#include <stdlib.h>
#include <string.h>

int wh_answers_create(wh_answers *ring, uint32_t capacity)
{
    *ring = (wh_answers){.capacity = capacity};
    ring->slots = calloc(capacity > 0 ? capacity : 1, sizeof *ring->slots);
    return ring->slots != NULL ? WH_OK : WH_ERR_MEMORY;
}

void wh_answers_free(wh_answers *ring)
{
    wh_answer answer;
    while (ring->slots != NULL && wh_answers_pop(ring, &answer) == WH_OK) {
        wh_answer_free(&answer);
    }
    free(ring->slots);
    ring->slots = NULL;
}

uint32_t wh_answers_push(wh_answers *ring, wh_answer answer)
{
    uint32_t lost = 0;
    wh_answer oldest;
    if (ring->count == ring->capacity && wh_answers_pop(ring, &oldest) == WH_OK) {
        wh_answer_free(&oldest);
        lost = 1;
    }
    ring->slots[(ring->first + ring->count) % ring->capacity] = answer;
    ring->count += 1;
    return lost;
}

int wh_answers_pop(wh_answers *ring, wh_answer *answer)
{
    if (ring->count == 0) {
        return WH_ERR_EMPTY;
    }
    *answer = ring->slots[ring->first];
    ring->first = (ring->first + 1) % ring->capacity;
    ring->count -= 1;
    return WH_OK;
}

wh_answer wh_answer_copy(const wh_answer *answer)
{
    wh_answer copy = *answer;
    if (answer->output != NULL) {
        copy.output = malloc(answer->output_size);
        if (copy.output != NULL) {
            memcpy(copy.output, answer->output, answer->output_size);
        } else {
            copy.output_size = 0;
        }
    }
    return copy;
}

void wh_answer_free(wh_answer *answer)
{
    free(answer->output);
    answer->output = NULL;
    answer->output_size = 0;
}
