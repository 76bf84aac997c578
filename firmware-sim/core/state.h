/* What the boot decision remembers: one record of 16 bytes, appended to a log of two sectors.
 *
 * The newest sound record counts. A record is written in one operation and carries a CRC, so a cut
 * leaves the one before it. When a sector is full, the other one is erased and goes on. */

#ifndef WHERRY_FW_STATE_H
#define WHERRY_FW_STATE_H

#include "flash.h"

typedef enum {
    FW_SETTLED = 0,      /* the active bank stays */
    FW_TEST = 1,         /* boot the other bank once */
    FW_PERMANENT = 2,    /* boot the other bank and stay there */
    FW_TRIAL = 3         /* the active bank runs unconfirmed since its first boot */
} fw_phase;
#define FW_PHASE_COUNT 4u

typedef struct {
    uint32_t sequence;   /* of the record; 0: none was ever written */
    uint8_t active;      /* bank 0 or 1 */
    uint8_t phase;       /* fw_phase */
    uint8_t good;        /* bit b: the image in bank b was confirmed and not touched since */
} fw_state;

/* The newest record; bank 0, settled, nothing good where there is none. */
void fw_state_read(const fw_flash *flash, fw_state *state);

/* Appends the state under the next sequence number. FW_OK or a flash error. */
FW_MUST_CHECK int fw_state_write(const fw_flash *flash, fw_state *state);

#endif
