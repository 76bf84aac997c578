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

bool wh_shadow_copy(wh_shadow *shadow, const uint8_t *input, size_t size, const wh_answer *answer)
{
    if (size != shadow->input_bytes || answer->output == NULL ||
        answer->output_size != shadow->output_bytes) {
        return false;
    }
    memcpy(shadow->pair, input, size);
    memcpy(shadow->pair + size, answer->output, answer->output_size);
    return true;
}

void wh_shadow_run(wh_shadow *shadow, wh_answer *answer)
{
    wh_instance_answer(shadow->instance, shadow->pair, shadow->input_bytes, answer);
}

/* --- Comparing ---------------------------------------------------------------------------- */

static int64_t element(const uint8_t *bytes, uint8_t dtype, size_t index)
{
    if (dtype == WH_INT8) {
        return (int8_t)bytes[index];
    }
    if (dtype == WH_INT16) {
        int16_t value;
        memcpy(&value, bytes + 2 * index, sizeof value);
        return value;
    }
    int32_t value;
    memcpy(&value, bytes + 4 * index, sizeof value);
    return value;
}

static size_t element_bytes(uint8_t dtype)
{
    return dtype == WH_INT8 ? 1 : dtype == WH_INT16 ? 2 : 4;
}

static size_t argmax(const uint8_t *bytes, const wh_tensor *tensor)
{
    size_t count = tensor->size / element_bytes(tensor->dtype);
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        if (element(bytes, tensor->dtype, i) > element(bytes, tensor->dtype, best)) {
            best = i;
        }
    }
    return best;
}

static bool is_within(const uint8_t *a, const uint8_t *b, const wh_tensor *tensor, int64_t lsb)
{
    size_t count = tensor->size / element_bytes(tensor->dtype);
    for (size_t i = 0; i < count; i++) {
        int64_t apart = element(a, tensor->dtype, i) - element(b, tensor->dtype, i);
        if (apart > lsb || -apart > lsb) {
            return false;
        }
    }
    return true;
}

static bool are_within(const wh_program *program, const uint8_t *a, const uint8_t *b, int64_t lsb)
{
    for (uint32_t i = 0; i < program->header->output_count; i++) {
        const wh_tensor *tensor = wh_output(program, i);
        if (!is_within(a, b, tensor, lsb)) {
            return false;
        }
        a += tensor->size;
        b += tensor->size;
    }
    return true;
}

static bool compare(wh_shadow *shadow, const uint8_t *active, const uint8_t *own)
{
    const wh_program *program = wh_instance_program(shadow->instance);
    const wh_tensor *first = wh_output(program, 0);
    bool has_argmax = argmax(active, first) == argmax(own, first);
    bool has_tolerance = are_within(program, active, own, shadow->config.tolerance_lsb);
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
    uint8_t *bytes = malloc(sample_bytes * (WH_DISAGREEMENTS_MAX + 1));
    if (bytes == NULL) {
        return WH_ERR_MEMORY;
    }
    shadow->pair = bytes;
    for (uint32_t i = 0; i < WH_DISAGREEMENTS_MAX; i++) {
        shadow->samples[i].bytes = bytes + (i + 1) * sample_bytes;
    }
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
    uint32_t hold = shadow->hold;
    memset(shadow, 0, sizeof *shadow);
    shadow->hold = hold;
}
