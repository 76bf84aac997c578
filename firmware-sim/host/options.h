/* The command line of wherry-firmware-sim. */

#ifndef WHERRY_FW_OPTIONS_H
#define WHERRY_FW_OPTIONS_H

#include "image.h"

#define FW_EXIT_USAGE 2

typedef struct {
    const char *flash_path;
    const char *keys_path;      /* NULL: no provisioning */
    uint32_t threshold;
    uint32_t slot_size;
    uint32_t arena_size;
    uint64_t cut_after;
    bool is_torn;
    bool prints_boot_table;
} fw_options;

/* Ends the process, with one sentence, where the command line is wrong. */
fw_options fw_options_read(int argc, char **argv);

/* The keys of a file: one raw Ed25519 public key a line, as 64 hexadecimal digits; `#` begins a
 * comment. Ends the process, with one sentence, where it cannot be read. */
fw_trust fw_options_read_keys(const fw_options *options);

#endif
