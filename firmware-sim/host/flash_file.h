/* A NOR flash in a file: erase before write, whole units only, and power that can be cut. */

#ifndef WHERRY_FW_FLASH_FILE_H
#define WHERRY_FW_FLASH_FILE_H

#include "flash.h"

#define FW_EXIT_POWER_CUT 75

typedef struct {
    uint8_t *bytes;
    uint32_t size;
    uint64_t operation_count;    /* durable operations since the process began */
    uint64_t cut_after;          /* ends the process with the operation of this number; 0: never */
    bool is_torn;                /* that operation is done by half only */
} fw_flash_file;

/* Opens the file, or makes a blank one with two slots of `slot_size` bytes. Maps and locks it until
 * the process ends. On a failure prints one sentence and returns false. */
bool fw_flash_file_open(fw_flash_file *file, const char *path, uint32_t slot_size);

/* The flash that the firmware sees; valid as long as the file. */
fw_flash fw_flash_file_view(fw_flash_file *file);

#endif
