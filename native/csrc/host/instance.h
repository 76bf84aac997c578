/* What the loop does with an instance; only its thread calls wh_instance_answer. */

#ifndef WHERRY_HOST_INSTANCE_H
#define WHERRY_HOST_INSTANCE_H

#include "wherry/host.h"

/* One inference, or a refusal. Fills all of `answer` but its sequence. */
void wh_instance_answer(wh_instance *instance, const uint8_t *input, size_t input_size,
                        wh_answer *answer);

/* Takes the instance for one loop, or says 0 when another has it. */
WH_MUST_CHECK int wh_instance_claim(wh_instance *instance);
void wh_instance_release(wh_instance *instance);

#endif
