/* The shadow of a loop: what it keeps, and its steps around one inference of the active instance.
 * The loop's lock is held where a function says so. */

#ifndef WHERRY_HOST_SHADOW_H
#define WHERRY_HOST_SHADOW_H

#include <stdbool.h>

#include "quantization.h"
#include "wherry/host.h"

typedef struct {
    uint64_t sequence;
    uint8_t *bytes;        /* input, the active one's outputs, the shadow's outputs */
} wh_sample;

typedef struct {
    wh_instance *instance; /* NULL: there is none */
    wh_shadow_config config;
    wh_shadow_stats stats;
    uint32_t hold;         /* WH_HOLD_… */
    bool is_in_use;        /* the worker has it, between two holds of the lock */
    uint64_t expected_ns;  /* what an inference of the shadow takes, by the last one */
    size_t input_bytes;
    size_t output_bytes;
    uint8_t *pair;         /* laid out as a sample */
    uint8_t *input;        /* the pair's input in the shadow's own quantization */
    wh_quantization *theirs; /* of the pair: each input, then each output */
    wh_sample samples[WH_DISAGREEMENTS_MAX];
    uint32_t sample_count;
} wh_shadow;

/* Lock held. Is this input one to run on? Counts it where it is not; else the worker has it. */
bool wh_shadow_begin(wh_shadow *shadow, uint64_t sequence);

/* Lock not held. Copies what belongs to others before they get it: the input and the answer of the
 * `active` program, which may go afterwards; false: nothing to compare. */
bool wh_shadow_copy(wh_shadow *shadow, const wh_program *active, const uint8_t *input, size_t size,
                    const wh_answer *answer);

/* Lock held. Is there time for it? Counts it where there is none. */
bool wh_shadow_has_time(wh_shadow *shadow, bool is_somebody_waiting, uint64_t latency_ns);

/* Lock not held. */
void wh_shadow_run(wh_shadow *shadow, wh_answer *answer);

/* Lock held. Counts what came of it and lets it go. */
void wh_shadow_end(wh_shadow *shadow, const wh_answer *answer, uint64_t sequence,
                   uint64_t latency_ns);

/* Lock held. As wh_loop_take_disagreement. */
WH_MUST_CHECK int wh_shadow_take(wh_shadow *shadow, uint64_t *sequence, uint8_t *bytes,
                                 size_t size);

/* Lock held, not in use. Fills an empty shadow, whose statistics begin anew, or empties it; they
 * stay then. WH_OK, WH_ERR_MEMORY. */
WH_MUST_CHECK int wh_shadow_fill(wh_shadow *shadow, wh_instance *instance,
                                 const wh_shadow_config *config);
void wh_shadow_empty(wh_shadow *shadow);

#endif
