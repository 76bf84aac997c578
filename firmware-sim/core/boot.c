#include "boot.h"

#define ANY 2
#define SAME_PHASE 255

typedef struct {
    uint8_t phase;
    uint8_t active_verified;   /* 0, 1 or ANY, as the next two */
    uint8_t other_verified;
    uint8_t other_good;
    uint8_t action;
} row;

/* The first row that fits decides. A bank runs only in rows that ask for it to be verified. */
static const row BOOT_TABLE[] = {
    /* phase       active other  good   action */
    {FW_SETTLED,   1,     ANY,   ANY,   FW_BOOT_RUN},
    {FW_SETTLED,   0,     1,     1,     FW_BOOT_FALL_BACK},
    {FW_SETTLED,   0,     ANY,   ANY,   FW_BOOT_HOLD},
    {FW_TEST,      ANY,   1,     ANY,   FW_BOOT_TRY},
    {FW_TEST,      1,     0,     ANY,   FW_BOOT_CANCEL},
    {FW_TEST,      0,     0,     ANY,   FW_BOOT_DROP},
    {FW_PERMANENT, ANY,   1,     ANY,   FW_BOOT_KEEP},
    {FW_PERMANENT, 1,     0,     ANY,   FW_BOOT_CANCEL},
    {FW_PERMANENT, 0,     0,     ANY,   FW_BOOT_DROP},
    {FW_TRIAL,     ANY,   1,     1,     FW_BOOT_REVERT},
    {FW_TRIAL,     1,     ANY,   ANY,   FW_BOOT_CONTINUE},
    {FW_TRIAL,     0,     ANY,   ANY,   FW_BOOT_HOLD},
};

/* What an action makes of the state. */
typedef struct {
    const char *name;
    bool changes_bank;
    uint8_t phase;             /* afterwards; SAME_PHASE: as it was */
    bool marks_active_good;    /* the bank that is active afterwards */
    bool clears_active_good;
    bool clears_other_good;    /* the bank that was left */
    bool runs;
} effect;

static const effect EFFECTS[FW_BOOT_ACTION_COUNT] = {
    /*                      name         flip   phase       mark   clear  clear  runs */
    [FW_BOOT_RUN] =        {"run",       false, FW_SETTLED, false, false, false, true},
    [FW_BOOT_TRY] =        {"try",       true,  FW_TRIAL,   false, true,  false, true},
    [FW_BOOT_KEEP] =       {"keep",      true,  FW_SETTLED, true,  false, false, true},
    [FW_BOOT_REVERT] =     {"revert",    true,  FW_SETTLED, false, false, true,  true},
    [FW_BOOT_CONTINUE] =   {"continue",  false, FW_TRIAL,   false, false, false, true},
    [FW_BOOT_CANCEL] =     {"cancel",    false, FW_SETTLED, false, false, true,  true},
    [FW_BOOT_FALL_BACK] =  {"fall back", true,  FW_SETTLED, false, false, true,  true},
    [FW_BOOT_DROP] =       {"drop",      false, FW_SETTLED, false, false, true,  false},
    /* Changes nothing: what does not verify now (less memory, say) may do so at the next boot. */
    [FW_BOOT_HOLD] =       {"hold",      false, SAME_PHASE, false, false, false, false},
};

static bool fits(uint8_t wanted, bool found)
{
    return wanted == ANY || (wanted == 1) == found;
}

fw_boot_action fw_boot_decide(fw_boot_facts facts)
{
    for (size_t i = 0; i < sizeof BOOT_TABLE / sizeof BOOT_TABLE[0]; i++) {
        const row *r = &BOOT_TABLE[i];
        if (r->phase == facts.phase && fits(r->active_verified, facts.is_active_verified) &&
            fits(r->other_verified, facts.is_other_verified) &&
            fits(r->other_good, facts.is_other_good)) {
            return (fw_boot_action)r->action;
        }
    }
    return FW_BOOT_HOLD;
}

fw_state fw_boot_apply(fw_state before, fw_boot_action action)
{
    const effect *e = &EFFECTS[action];
    fw_state after = before;
    after.active = (uint8_t)(e->changes_bank ? 1u - before.active : before.active);
    after.phase = e->phase == SAME_PHASE ? before.phase : e->phase;
    uint8_t active_bit = (uint8_t)(1u << after.active);
    uint8_t other_bit = (uint8_t)(1u << (1u - after.active));
    after.good = (uint8_t)(after.good | (e->marks_active_good ? active_bit : 0u));
    after.good = (uint8_t)(after.good & ~(e->clears_active_good ? active_bit : 0u));
    after.good = (uint8_t)(after.good & ~(e->clears_other_good ? other_bit : 0u));
    return after;
}

bool fw_boot_runs(fw_boot_action action)
{
    return EFFECTS[action].runs;
}

const char *fw_boot_name(fw_boot_action action)
{
    return EFFECTS[action].name;
}
