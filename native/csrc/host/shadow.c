/* A second instance on the same inputs: sampled, timed, compared, and never heard. */

#include "shadow.h"

#include <stdlib.h>
#include <string.h>

#include "instance.h"

#define ALL_BP 10000u
#define FORGET 16u /* part of an expectation that goes with each input that had no time for it */

/* --- Which inputs ------------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea, Flood 2014): every device samples the same numbers. */
uint32_t wh_shadow_draw(uint64_t sequence)
{
    uint64_t z = sequence + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ (z >> 31)) % ALL_BP);
}

bool wh_shadow_begin(wh_shadow *shadow, uint64_t sequence)
{
    if (shadow->instance == NULL) {
        return false;
    }
    if (wh_shadow_draw(sequence) >= shadow->config.sample_bp) {
        shadow->stats.skipped_sampling += 1;
    } else if (shadow->hold == WH_HOLD_ENERGY) {
        shadow->stats.skipped_energy += 1;
    } else if (shadow->hold == WH_HOLD_TEMPERATURE) {
        shadow->stats.skipped_temperature += 1;
    } else {
        shadow->is_in_use = true;
    }
    return shadow->is_in_use;
}

bool wh_shadow_has_time(wh_shadow *shadow, bool is_somebody_waiting, uint64_t latency_ns)
{
    uint64_t deadline_ns = shadow->config.deadline_ns;
    bool is_late = deadline_ns != 0 && latency_ns + shadow->expected_ns > deadline_ns;
    if (!is_somebody_waiting && !is_late) {
        return true;
    }
    shadow->expected_ns -= is_late ? shadow->expected_ns / FORGET : 0;
    shadow->stats.skipped_deadline += 1;
    shadow->is_in_use = false;
    return false;
}

/* --- One inference ------------------------------------------------------------------------ */

/* What the integers of the active program mean; false: nothing can be made of them. */
static bool learn(wh_shadow *shadow, const wh_program *active)
{
    const wh_program *own = wh_instance_program(shadow->instance);
    uint32_t inputs = own->header->input_count;
    uint32_t outputs = own->header->output_count;
    if (active->header->input_count != inputs || active->header->output_count != outputs) {
        return false;
    }
    for (uint32_t i = 0; i < inputs + outputs; i++) {
        const wh_tensor *from = i < inputs ? wh_input(active, i) : wh_output(active, i - inputs);
        const wh_tensor *to = i < inputs ? wh_input(own, i) : wh_output(own, i - inputs);
        if (!wh_can_be_converted(from, to)) {
            return false;
        }
        shadow->theirs[i] = wh_quantization_of(from);
    }
    return true;
}

bool wh_shadow_copy(wh_shadow *shadow, const wh_program *active, const uint8_t *input, size_t size,
                    const wh_answer *answer)
{
    if (size != shadow->input_bytes || answer->output == NULL ||
        answer->output_size != shadow->output_bytes || !learn(shadow, active)) {
        return false;
    }
    memcpy(shadow->pair, input, size);
    memcpy(shadow->pair + size, answer->output, answer->output_size);
    return true;
}

void wh_shadow_run(wh_shadow *shadow, wh_answer *answer)
{
    const wh_program *program = wh_instance_program(shadow->instance);
    size_t offset = 0;
    for (uint32_t i = 0; i < program->header->input_count; i++) {
        const wh_tensor *tensor = wh_input(program, i);
        wh_convert(tensor, shadow->theirs[i], shadow->pair + offset, shadow->input + offset);
        offset += tensor->size;
    }
    wh_bytes input = {.bytes = shadow->input, .size = shadow->input_bytes};
    wh_instance_answer(shadow->instance, input, answer);
}

/* --- Comparing ---------------------------------------------------------------------------- */

static size_t argmax(const uint8_t *bytes, const wh_tensor *tensor)
{
    size_t count = wh_element_count(tensor);
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        if (wh_element(bytes, tensor->dtype, i) > wh_element(bytes, tensor->dtype, best)) {
            best = i;
        }
    }
    return best;
}

static bool are_within(const wh_shadow *shadow, const uint8_t *active, const uint8_t *own)
{
    const wh_program *program = wh_instance_program(shadow->instance);
    const wh_quantization *theirs = shadow->theirs + program->header->input_count;
    for (uint32_t i = 0; i < program->header->output_count; i++) {
        const wh_tensor *tensor = wh_output(program, i);
        if (!wh_is_within(tensor, theirs[i], active, own, shadow->config.tolerance_lsb)) {
            return false;
        }
        active += tensor->size;
        own += tensor->size;
    }
    return true;
}

static bool compare(wh_shadow *shadow, const uint8_t *active, const uint8_t *own)
{
    const wh_program *program = wh_instance_program(shadow->instance);
    const wh_tensor *first = wh_output(program, 0);
    bool has_argmax = argmax(active, first) == argmax(own, first);
    bool has_tolerance = are_within(shadow, active, own);
    bool is_agreed = shadow->config.comparator == WH_COMPARE_ARGMAX ? has_argmax : has_tolerance;
    shadow->stats.compared += 1;
    shadow->stats.agreed_argmax += has_argmax;
    shadow->stats.agreed_tolerance += has_tolerance;
    shadow->stats.agreed += is_agreed;
    return is_agreed;
}

static void keep(wh_shadow *shadow, uint64_t sequence, const uint8_t *own)
{
    if (shadow->sample_count == WH_DISAGREEMENTS_MAX) {
        return;
    }
    wh_sample *sample = &shadow->samples[shadow->sample_count++];
    size_t pair_bytes = shadow->input_bytes + shadow->output_bytes;
    sample->sequence = sequence;
    memcpy(sample->bytes, shadow->pair, pair_bytes);
    memcpy(sample->bytes + pair_bytes, own, shadow->output_bytes);
}

int wh_shadow_take(wh_shadow *shadow, uint64_t *sequence, uint8_t *bytes, size_t size)
{
    if (shadow->sample_count == 0) {
        return WH_ERR_EMPTY;
    }
    if (size != shadow->input_bytes + 2 * shadow->output_bytes) {
        return WH_ERR_OUTPUT_SIZE;
    }
    wh_sample oldest = shadow->samples[0];
    *sequence = oldest.sequence;
    memcpy(bytes, oldest.bytes, size);
    shadow->sample_count -= 1;
    for (uint32_t i = 0; i < shadow->sample_count; i++) {
        shadow->samples[i] = shadow->samples[i + 1];
    }
    shadow->samples[shadow->sample_count] = oldest; /* its bytes serve the next one */
    return WH_OK;
}

void wh_shadow_end(wh_shadow *shadow, const wh_answer *answer, uint64_t sequence,
                   uint64_t latency_ns)
{
    shadow->expected_ns = answer->latency_ns;
    shadow->is_in_use = false;
    if (answer->status != WH_OK) {
        shadow->stats.errors += 1;
        shadow->stats.error = answer->status;
        return;
    }
    wh_histogram_add(&shadow->stats.primary_latency, latency_ns);
    if (!compare(shadow, shadow->pair + shadow->input_bytes, answer->output)) {
        keep(shadow, sequence, answer->output);
    }
}

/* --- Filling and emptying ----------------------------------------------------------------- */

int wh_shadow_fill(wh_shadow *shadow, wh_instance *instance, const wh_shadow_config *config)
{
    const wh_program *program = wh_instance_program(instance);
    shadow->input_bytes = wh_input_bytes(program);
    shadow->output_bytes = wh_output_bytes(program);
    size_t sample_bytes = shadow->input_bytes + 2 * shadow->output_bytes;
    size_t tensors = (size_t)program->header->input_count + program->header->output_count;
    uint8_t *bytes = malloc(sample_bytes * (WH_DISAGREEMENTS_MAX + 1) + shadow->input_bytes);
    wh_quantization *theirs = calloc(tensors, sizeof *theirs);
    if (bytes == NULL || theirs == NULL) {
        free(bytes);
        free(theirs);
        return WH_ERR_MEMORY;
    }
    shadow->theirs = theirs;
    shadow->pair = bytes;
    shadow->input = bytes + sample_bytes * (WH_DISAGREEMENTS_MAX + 1);
    for (uint32_t i = 0; i < WH_DISAGREEMENTS_MAX; i++) {
        shadow->samples[i].bytes = bytes + (i + 1) * sample_bytes;
    }
    memset(&shadow->stats, 0, sizeof shadow->stats);
    shadow->config = *config;
    shadow->instance = instance;
    return WH_OK;
}

void wh_shadow_empty(wh_shadow *shadow)
{
    if (shadow->instance != NULL) {
        wh_instance_release(shadow->instance);
    }
    free(shadow->pair);
    free(shadow->theirs);
    shadow->instance = NULL;
    shadow->pair = NULL;
    shadow->input = NULL;
    shadow->theirs = NULL;
    shadow->sample_count = 0;
    shadow->expected_ns = 0;
    shadow->is_in_use = false;
}
