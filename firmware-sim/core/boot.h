/* What to do on boot: one table from what is on flash to an action. Pure. */

#ifndef WHERRY_FW_BOOT_H
#define WHERRY_FW_BOOT_H

#include "state.h"

typedef enum {
    FW_BOOT_RUN = 0,       /* the active image, as it is */
    FW_BOOT_TRY,           /* the other image becomes active, on trial */
    FW_BOOT_KEEP,          /* the other image becomes active, confirmed */
    FW_BOOT_REVERT,        /* the trial was not confirmed: back to the other image */
    FW_BOOT_CONTINUE,      /* the trial was not confirmed, but there is no way back: it goes on */
    FW_BOOT_CANCEL,        /* the pending image is not what was verified: stay */
    FW_BOOT_FALL_BACK,     /* the active image is broken: back to the other, once good, image */
    FW_BOOT_DROP,          /* as cancel, but the active image is no more either: hold */
    FW_BOOT_HOLD           /* nothing may run: wait for an upload */
} fw_boot_action;
#define FW_BOOT_ACTION_COUNT 9u

/* `is_*_verified`: the bank holds an image whose digest, signatures and program hold right now. */
typedef struct {
    fw_phase phase;
    bool is_active_verified;
    bool is_other_verified;
    bool is_other_good;
} fw_boot_facts;

fw_boot_action fw_boot_decide(fw_boot_facts facts);

/* The state that the action leads to; equal to `before` where nothing is to be written. */
fw_state fw_boot_apply(fw_state before, fw_boot_action action);

bool fw_boot_runs(fw_boot_action action);

/* "fall back" and the like. Never NULL. */
const char *fw_boot_name(fw_boot_action action);

#endif
