#include "firmware.h"

#include <string.h>

#include "trust.h"

uint32_t fw_slot_bank(const fw_firmware *fw, uint32_t slot)
{
    return slot == 0 ? fw->state.active : 1u - fw->state.active;
}

bool fw_is_confirmed(const fw_firmware *fw)
{
    return fw->model.is_loaded && (fw->state.good >> fw->state.active & 1u) != 0;
}

int fw_check_bank(const fw_firmware *fw, uint32_t bank, fw_image *image)
{
    const fw_flash *flash = fw->board->flash;
    const uint8_t *bytes = flash->bytes + fw_bank_offset(flash, bank);
    int status = fw_image_verify(image, bytes, fw_bank_size(flash), &fw->trust);
    if (status != FW_OK) {
        return status;
    }
    return fw_model_check(bytes + image->payload_offset, image->payload_size,
                          fw->board->arena_size);
}

static fw_boot_facts look(const fw_firmware *fw)
{
    fw_image ignored;
    uint32_t other = 1u - fw->state.active;
    fw_boot_facts facts;
    facts.phase = (fw_phase)fw->state.phase;
    facts.is_active_verified = fw_check_bank(fw, fw->state.active, &ignored) == FW_OK;
    facts.is_other_verified = fw_check_bank(fw, other, &ignored) == FW_OK;
    facts.is_other_good = (fw->state.good >> other & 1u) != 0;
    return facts;
}

/* The decision is on flash before anything runs, so that a trial that crashes is over. */
static int decide(fw_firmware *fw)
{
    fw->boot = fw_boot_decide(look(fw));
    fw_state after = fw_boot_apply(fw->state, fw->boot);
    bool is_same = after.active == fw->state.active && after.phase == fw->state.phase &&
                   after.good == fw->state.good;
    fw->state = after;
    return is_same ? FW_OK : fw_state_write(fw->board->flash, &fw->state);
}

static int load_active(fw_firmware *fw)
{
    const fw_flash *flash = fw->board->flash;
    uint32_t bank = fw->state.active;
    int status = fw_check_bank(fw, bank, &fw->running);
    if (status != FW_OK) {
        return status;
    }
    const uint8_t *bytes = flash->bytes + fw_bank_offset(flash, bank);
    return fw_model_load(&fw->model, bytes + fw->running.payload_offset, fw->running.payload_size);
}

int fw_start(fw_firmware *fw, const fw_board *board)
{
    memset(fw, 0, sizeof *fw);
    fw->board = board;
    fw->started_ns = board->now_ns(board->context);
    fw_frame_reset(&fw->decoder);
    fw_model_clear(&fw->model, board->arena, board->arena_size);
    (void)fw_trust_read(board->flash, &fw->trust);
    fw_state_read(board->flash, &fw->state);
    int status = decide(fw);
    if (status != FW_OK || !fw_boot_runs(fw->boot)) {
        return status;
    }
    return load_active(fw);
}

static char *put_number(char *at, uint32_t number)
{
    char digits[10];
    unsigned count = 0;
    do {
        digits[count++] = (char)('0' + number % 10u);
        number /= 10u;
    } while (number > 0);
    while (count > 0) {
        *at++ = digits[--count];
    }
    return at;
}

void fw_version_text(const fw_version *version, char text[FW_VERSION_TEXT_MAX])
{
    text = put_number(text, version->major);
    *text++ = '.';
    text = put_number(text, version->minor);
    *text++ = '.';
    text = put_number(text, version->revision);
    if (version->build != 0) {
        *text++ = '.';
        text = put_number(text, version->build);
    }
    *text = '\0';
}
