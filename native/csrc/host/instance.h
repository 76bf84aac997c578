/* What the loop does with an instance; only its thread calls wh_instance_answer. */

#ifndef WHERRY_HOST_INSTANCE_H
#define WHERRY_HOST_INSTANCE_H

#include "wherry/host.h"

typedef struct {
    const uint8_t *bytes;
    size_t size;
} wh_bytes;

/* `count` inputs of `size` bytes each. */
typedef struct {
    const uint8_t *bytes;
    size_t size;
    size_t count;
} wh_samples;

/* One inference, or a refusal. Fills all of `answer` but its sequence. */
void wh_instance_answer(wh_instance *instance, wh_bytes input, wh_answer *answer);

/* Sample `number` of a replay: of the instance's own, or else of `given`. */
wh_bytes wh_instance_sample(const wh_instance *instance, const wh_samples *given, uint64_t number);

/* Copies the states of `from`, where both have the same: names, types, shapes, quantization. Says
 * 0, and copies nothing, where they differ or there are none. Neither may be running. */
WH_MUST_CHECK int wh_instance_take_states(wh_instance *to, const wh_instance *from);

/* Takes the instance for one loop, or says 0 when another has it. */
WH_MUST_CHECK int wh_instance_claim(wh_instance *instance);
void wh_instance_release(wh_instance *instance);

#endif
