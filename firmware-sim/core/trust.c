#include "trust.h"

#include <string.h>

#include "crc.h"

#define MAGIC 0x57525452u   /* "WRTR" */

typedef struct {
    uint32_t magic;
    uint32_t format;        /* 1 */
    fw_trust trust;
    uint32_t reserved[3];   /* up to a multiple of FW_WRITE_UNIT */
    uint32_t crc;           /* of everything before it */
} record;

/* Fails to compile where the record does not fill write units. */
typedef char record_fills_write_units[sizeof(record) % FW_WRITE_UNIT == 0 ? 1 : -1];

static bool is_sane(const fw_trust *trust)
{
    return trust->key_count <= FW_SIGNERS_MAX && trust->threshold >= 1 &&
           trust->threshold <= trust->key_count;
}

bool fw_trust_read(const fw_flash *flash, fw_trust *trust)
{
    record r;
    memset(trust, 0, sizeof *trust);
    memcpy(&r, flash->bytes + FW_TRUST_OFFSET, sizeof r);
    if (r.magic != MAGIC || r.format != 1 ||
        r.crc != fw_crc32((const uint8_t *)&r, sizeof r - sizeof r.crc) || !is_sane(&r.trust)) {
        return false;
    }
    *trust = r.trust;
    return true;
}

int fw_trust_write(const fw_flash *flash, const fw_trust *trust)
{
    record r;
    if (!is_sane(trust)) {
        return FW_ERR_INVALID;
    }
    memset(&r, 0, sizeof r);
    r.magic = MAGIC;
    r.format = 1;
    r.trust = *trust;
    r.crc = fw_crc32((const uint8_t *)&r, sizeof r - sizeof r.crc);
    int status = fw_flash_erase(flash, FW_TRUST_OFFSET, FW_SECTOR_SIZE);
    if (status != FW_OK) {
        return status;
    }
    return fw_flash_write(flash, FW_TRUST_OFFSET, (const uint8_t *)&r, sizeof r);
}
