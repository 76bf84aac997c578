#include "upload.h"

#include <string.h>

#include "crc.h"

#define MAGIC 0x57525550u   /* "WRUP" */

typedef struct {
    uint32_t magic;
    uint32_t size;
    uint32_t bank;
    uint8_t sha[FW_SHA256_SIZE];
    uint32_t crc;           /* of everything before it */
} record;

/* Fails to compile where the record does not fill write units. */
typedef char record_fills_write_units[sizeof(record) % FW_WRITE_UNIT == 0 ? 1 : -1];

static bool journal_names(const fw_upload *upload, const fw_flash *flash)
{
    record r;
    memcpy(&r, flash->bytes + FW_UPLOAD_OFFSET, sizeof r);
    return r.magic == MAGIC && r.crc == fw_crc32((const uint8_t *)&r, sizeof r - sizeof r.crc) &&
           r.size == upload->size && r.bank == upload->bank &&
           memcmp(r.sha, upload->sha, sizeof r.sha) == 0;
}

static int write_journal(const fw_upload *upload, const fw_flash *flash)
{
    record r;
    memset(&r, 0, sizeof r);
    r.magic = MAGIC;
    r.size = upload->size;
    r.bank = upload->bank;
    memcpy(r.sha, upload->sha, sizeof r.sha);
    r.crc = fw_crc32((const uint8_t *)&r, sizeof r - sizeof r.crc);
    return fw_flash_write(flash, FW_UPLOAD_OFFSET, (const uint8_t *)&r, sizeof r);
}

bool fw_upload_matches(const fw_upload *upload, const fw_flash *flash)
{
    uint8_t digest[FW_SHA256_SIZE];
    fw_sha256(flash->bytes + fw_bank_offset(flash, upload->bank), upload->size, digest);
    return memcmp(digest, upload->sha, sizeof digest) == 0;
}

/* The bytes of the bank up to the last one that is not blank. */
static uint32_t filled_size(const fw_upload *upload, const fw_flash *flash)
{
    const uint8_t *bank = flash->bytes + fw_bank_offset(flash, upload->bank);
    uint32_t size = upload->size;
    while (size > 0 && bank[size - 1] == FW_ERASED) {
        size--;
    }
    return size;
}

/* Goes on where an earlier session of the same image was cut. */
static int resume(fw_upload *upload, const fw_flash *flash)
{
    if (fw_upload_matches(upload, flash)) {
        upload->offset = upload->size;
        upload->is_open = false;
        return FW_OK;
    }
    uint32_t filled = filled_size(upload, flash);
    uint32_t keep = filled == 0 ? 0 : (filled - 1u) / FW_SECTOR_SIZE * FW_SECTOR_SIZE;
    upload->offset = keep;
    return fw_flash_erase(flash, fw_bank_offset(flash, upload->bank) + keep, FW_SECTOR_SIZE);
}

int fw_upload_begin(fw_upload *upload, const fw_flash *flash, uint32_t bank, uint32_t size,
                    const uint8_t *sha)
{
    memset(upload, 0, sizeof *upload);
    upload->is_open = true;
    upload->has_sha = sha != NULL;
    upload->bank = bank;
    upload->size = size;
    if (sha) {
        memcpy(upload->sha, sha, sizeof upload->sha);
        if (journal_names(upload, flash)) {
            return resume(upload, flash);
        }
    }
    int status = fw_flash_erase(flash, FW_UPLOAD_OFFSET, FW_SECTOR_SIZE);
    if (status == FW_OK) {
        status = fw_flash_erase(flash, fw_bank_offset(flash, bank), fw_bank_size(flash));
    }
    if (status == FW_OK && sha) {
        status = write_journal(upload, flash);
    }
    return status;
}

/* Writes the whole units of tail and data, keeps the rest as the new tail. */
static int write_units(fw_upload *upload, const fw_flash *flash, const uint8_t *data, size_t size)
{
    uint32_t held = upload->offset % FW_WRITE_UNIT;
    uint32_t at = fw_bank_offset(flash, upload->bank) + upload->offset - held;
    if (held != 0) {
        size_t piece = FW_WRITE_UNIT - held < size ? FW_WRITE_UNIT - held : size;
        memcpy(upload->tail + held, data, piece);
        data += piece;
        size -= piece;
        if (held + piece < FW_WRITE_UNIT) {
            return FW_OK;
        }
        int status = fw_flash_write(flash, at, upload->tail, FW_WRITE_UNIT);
        if (status != FW_OK) {
            return status;
        }
        at += FW_WRITE_UNIT;
    }
    uint32_t rest = (uint32_t)size % FW_WRITE_UNIT;
    memcpy(upload->tail, data + (size - rest), rest);
    return fw_flash_write(flash, at, data, (uint32_t)size - rest);
}

static int write_last_unit(fw_upload *upload, const fw_flash *flash)
{
    uint32_t held = upload->size % FW_WRITE_UNIT;
    if (held == 0) {
        return FW_OK;
    }
    memset(upload->tail + held, FW_ERASED, FW_WRITE_UNIT - held);
    uint32_t at = fw_bank_offset(flash, upload->bank) + upload->size - held;
    return fw_flash_write(flash, at, upload->tail, FW_WRITE_UNIT);
}

int fw_upload_append(fw_upload *upload, const fw_flash *flash, const uint8_t *data, size_t size)
{
    if (size > upload->size - upload->offset) {
        return FW_ERR_DATA_OVERRUN;
    }
    int status = write_units(upload, flash, data, size);
    if (status != FW_OK) {
        upload->is_open = false;
        return status;
    }
    upload->offset += (uint32_t)size;
    if (upload->offset < upload->size) {
        return FW_OK;
    }
    upload->is_open = false;
    return write_last_unit(upload, flash);
}

int fw_upload_erase(fw_upload *upload, const fw_flash *flash, uint32_t bank)
{
    memset(upload, 0, sizeof *upload);
    int status = fw_flash_erase(flash, FW_UPLOAD_OFFSET, FW_SECTOR_SIZE);
    if (status != FW_OK) {
        return status;
    }
    return fw_flash_erase(flash, fw_bank_offset(flash, bank), fw_bank_size(flash));
}
