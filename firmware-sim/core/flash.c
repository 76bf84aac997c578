#include "flash.h"

uint32_t fw_bank_size(const fw_flash *flash)
{
    return (flash->size - FW_BANKS_OFFSET) / 2u / FW_SECTOR_SIZE * FW_SECTOR_SIZE;
}

uint32_t fw_bank_offset(const fw_flash *flash, uint32_t bank)
{
    return FW_BANKS_OFFSET + bank * fw_bank_size(flash);
}

bool fw_flash_is_blank(const fw_flash *flash, uint32_t offset, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        if (flash->bytes[offset + i] != FW_ERASED) {
            return false;
        }
    }
    return true;
}

int fw_flash_write(const fw_flash *flash, uint32_t offset, const uint8_t *data, uint32_t size)
{
    while (size > 0) {
        uint32_t room = FW_SECTOR_SIZE - offset % FW_SECTOR_SIZE;
        uint32_t piece = size < room ? size : room;
        if (flash->write(flash->context, offset, data, piece) != 0) {
            return FW_ERR_FLASH_WRITE;
        }
        offset += piece;
        data += piece;
        size -= piece;
    }
    return FW_OK;
}

int fw_flash_erase(const fw_flash *flash, uint32_t offset, uint32_t size)
{
    for (uint32_t end = offset + size; offset < end; offset += FW_SECTOR_SIZE) {
        if (fw_flash_is_blank(flash, offset, FW_SECTOR_SIZE)) {
            continue;
        }
        if (flash->erase(flash->context, offset) != 0) {
            return FW_ERR_FLASH_ERASE;
        }
    }
    return FW_OK;
}
