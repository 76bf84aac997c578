#include "state.h"

#include <string.h>

#include "crc.h"

#define MAGIC 0x57525354u   /* "WRST" */
#define RECORD_SIZE FW_WRITE_UNIT
#define RECORDS_PER_SECTOR (FW_SECTOR_SIZE / RECORD_SIZE)

typedef struct {
    uint32_t magic;
    uint32_t sequence;
    uint8_t active;
    uint8_t phase;
    uint8_t good;
    uint8_t reserved;
    uint32_t crc;           /* of the twelve bytes before it */
} record;

static uint32_t record_offset(uint32_t index)
{
    return FW_STATE_OFFSET + index * RECORD_SIZE;
}

static bool read_record(const fw_flash *flash, uint32_t index, record *out)
{
    memcpy(out, flash->bytes + record_offset(index), sizeof *out);
    return out->magic == MAGIC && out->crc == fw_crc32((const uint8_t *)out, RECORD_SIZE - 4u) &&
           out->active < 2 && out->phase < FW_PHASE_COUNT;
}

/* The index of the newest record, or -1. */
static int newest(const fw_flash *flash, record *best)
{
    int found = -1;
    record candidate;
    for (uint32_t i = 0; i < 2u * RECORDS_PER_SECTOR; i++) {
        if (read_record(flash, i, &candidate) &&
            (found < 0 || candidate.sequence > best->sequence)) {
            *best = candidate;
            found = (int)i;
        }
    }
    return found;
}

void fw_state_read(const fw_flash *flash, fw_state *state)
{
    record best;
    memset(state, 0, sizeof *state);
    if (newest(flash, &best) >= 0) {
        state->sequence = best.sequence;
        state->active = best.active;
        state->phase = best.phase;
        state->good = best.good;
    }
}

/* Where the next record goes: the first blank place behind the newest in its sector (a torn record
 * is passed over), else the other sector, once it is erased. */
static int next_place(const fw_flash *flash, uint32_t *index)
{
    record best;
    int last = newest(flash, &best);
    uint32_t sector = last < 0 ? 0 : (uint32_t)last / RECORDS_PER_SECTOR;
    uint32_t first = sector * RECORDS_PER_SECTOR;
    for (uint32_t i = last < 0 ? first : (uint32_t)last + 1u; i < first + RECORDS_PER_SECTOR; i++) {
        if (fw_flash_is_blank(flash, record_offset(i), RECORD_SIZE)) {
            *index = i;
            return FW_OK;
        }
    }
    *index = (1u - sector) * RECORDS_PER_SECTOR;
    return fw_flash_erase(flash, record_offset(*index), FW_SECTOR_SIZE);
}

int fw_state_write(const fw_flash *flash, fw_state *state)
{
    uint32_t index;
    int status = next_place(flash, &index);
    if (status != FW_OK) {
        return status;
    }
    record next = {MAGIC, state->sequence + 1u, state->active, state->phase, state->good, 0, 0};
    next.crc = fw_crc32((const uint8_t *)&next, RECORD_SIZE - 4u);
    status = fw_flash_write(flash, record_offset(index), (const uint8_t *)&next, sizeof next);
    if (status == FW_OK) {
        state->sequence = next.sequence;
    }
    return status;
}
