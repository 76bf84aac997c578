/* NOR flash as the firmware sees it: mapped for reading, erased by sectors, written once.
 *
 * Every call of `write` and `erase` is one durable operation: power may be cut after any of them,
 * or in the midst of one. */

#ifndef WHERRY_FW_FLASH_H
#define WHERRY_FW_FLASH_H

#include "status.h"

#define FW_SECTOR_SIZE 4096u
#define FW_WRITE_UNIT 16u          /* a unit is written once, as a whole, until it is erased */
#define FW_ERASED 0xFFu

/* Layout: | trust | state A | state B | upload | bank 0 | bank 1 |, docs/SPEC-firmware.md. */
#define FW_TRUST_OFFSET (0u * FW_SECTOR_SIZE)
#define FW_STATE_OFFSET (1u * FW_SECTOR_SIZE)   /* two sectors */
#define FW_UPLOAD_OFFSET (3u * FW_SECTOR_SIZE)
#define FW_BANKS_OFFSET (4u * FW_SECTOR_SIZE)

typedef struct {
    const uint8_t *bytes;          /* all of it, aligned to 16 */
    uint32_t size;                 /* bytes, a multiple of two sectors */
    void *context;
    /* Units that are erased become `data`. Offset and size are multiples of FW_WRITE_UNIT inside
     * one sector. 0, or another number for a failure. */
    int (*write)(void *context, uint32_t offset, const uint8_t *data, uint32_t size);
    /* The sector that begins at the offset becomes FW_ERASED. 0, or another number. */
    int (*erase)(void *context, uint32_t offset);
} fw_flash;

uint32_t fw_bank_size(const fw_flash *flash);
uint32_t fw_bank_offset(const fw_flash *flash, uint32_t bank);

bool fw_flash_is_blank(const fw_flash *flash, uint32_t offset, uint32_t size);

/* As `write`, across sectors. FW_OK or FW_ERR_FLASH_WRITE. */
FW_MUST_CHECK int fw_flash_write(const fw_flash *flash, uint32_t offset, const uint8_t *data,
                                 uint32_t size);

/* Erases the sectors of [offset, offset + size) that are not blank; the offset begins a sector.
 * FW_OK or FW_ERR_FLASH_ERASE. */
FW_MUST_CHECK int fw_flash_erase(const fw_flash *flash, uint32_t offset, uint32_t size);

#endif
