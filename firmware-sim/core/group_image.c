/* Group 1: images in two slots. Slot 0 is the bank that is active, slot 1 the other one. */

#include "firmware.h"

#include <string.h>

/* Slot 1 must stay as it is: it is pending, or it is the way back from a trial. */
static bool is_slot_1_in_use(const fw_firmware *fw)
{
    bool is_good = (fw->state.good >> fw_slot_bank(fw, 1) & 1u) != 0;
    return fw->state.phase == FW_TEST || fw->state.phase == FW_PERMANENT ||
           (fw->state.phase == FW_TRIAL && is_good);
}

static int parse_slot(const fw_firmware *fw, uint32_t slot, fw_image *image)
{
    const fw_flash *flash = fw->board->flash;
    const uint8_t *bytes = flash->bytes + fw_bank_offset(flash, fw_slot_bank(fw, slot));
    return fw_image_parse(image, bytes, fw_bank_size(flash));
}

static void write_slot(const fw_firmware *fw, uint32_t slot, const fw_image *image,
                       fw_writer *answer)
{
    char version[FW_VERSION_TEXT_MAX];
    bool is_pending = fw->state.phase == FW_TEST || fw->state.phase == FW_PERMANENT;
    fw_version_text(&image->version, version);
    fw_write_map(answer);
    fw_put_uint(answer, "image", 0);
    fw_put_uint(answer, "slot", slot);
    fw_put_text(answer, "version", version);
    fw_put_bytes(answer, "hash", image->digest, sizeof image->digest);
    fw_put_bool(answer, "bootable", true);
    fw_put_bool(answer, "pending", slot == 1 && is_pending);
    fw_put_bool(answer, "confirmed",
                slot == 0 ? fw_is_confirmed(fw)
                          : fw->state.phase == FW_TRIAL && is_slot_1_in_use(fw));
    fw_put_bool(answer, "active", slot == 0 && fw->model.is_loaded);
    fw_put_bool(answer, "permanent", slot == 1 && fw->state.phase == FW_PERMANENT);
    fw_write_end(answer);
}

int fw_image_state_read(fw_firmware *fw, const fw_map *request, fw_writer *answer)
{
    (void)request;
    fw_write_text(answer, "images");
    fw_write_array(answer);
    for (uint32_t slot = 0; slot < 2; slot++) {
        fw_image image;
        if (parse_slot(fw, slot, &image) == FW_OK) {
            write_slot(fw, slot, &image, answer);
        }
    }
    fw_write_end(answer);
    fw_put_uint(answer, "splitStatus", 0);
    return FW_OK;
}

/* The slot whose image states this digest, or FW_ERR_NO_IMAGE. */
static int find_slot(const fw_firmware *fw, const uint8_t *digest)
{
    for (int slot = 0; slot < 2; slot++) {
        fw_image image;
        if (parse_slot(fw, (uint32_t)slot, &image) == FW_OK &&
            memcmp(image.digest, digest, sizeof image.digest) == 0) {
            return slot;
        }
    }
    return FW_ERR_NO_IMAGE;
}

static int remember(fw_firmware *fw, fw_state next)
{
    bool is_same = next.phase == fw->state.phase && next.good == fw->state.good;
    if (is_same) {
        return FW_OK;
    }
    int status = fw_state_write(fw->board->flash, &next);
    if (status == FW_OK) {
        fw->state = next;
    }
    return status;
}

static int confirm_running(fw_firmware *fw)
{
    fw_image image;
    fw_state next = fw->state;
    if (!fw->model.is_loaded) {
        return FW_ERR_NO_IMAGE;
    }
    int status = fw_check_bank(fw, fw->state.active, &image);
    if (status != FW_OK) {
        return status;
    }
    next.good = (uint8_t)(next.good | (1u << next.active));
    next.phase = next.phase == FW_TRIAL ? (uint8_t)FW_SETTLED : next.phase;
    return remember(fw, next);
}

/* Slot 1 boots next: once, or for good. */
static int make_pending(fw_firmware *fw, fw_phase phase)
{
    fw_image image;
    fw_state next = fw->state;
    if (is_slot_1_in_use(fw) && fw->state.phase != phase) {
        return FW_ERR_ALREADY_PENDING;
    }
    int status = fw_check_bank(fw, fw_slot_bank(fw, 1), &image);
    if (status != FW_OK) {
        return status;
    }
    fw->upload.is_open = false;  /* what was verified is not written to any more */
    next.phase = (uint8_t)phase;
    return remember(fw, next);
}

int fw_image_state_write(fw_firmware *fw, const fw_map *request, fw_writer *answer)
{
    const uint8_t *digest = NULL;
    size_t size = 0;
    bool is_confirm = false;
    int slot = 0;
    int status;
    if (fw_map_bytes(request, "hash", &digest, &size) < 0 ||
        fw_map_bool(request, "confirm", &is_confirm) < 0) {
        return FW_ERR_INVALID;
    }
    if (digest ? size != FW_SHA256_SIZE : !is_confirm) {
        return FW_ERR_INVALID_LENGTH;
    }
    if (digest && (slot = find_slot(fw, digest)) < 0) {
        return slot;
    }
    if (slot == 0) {
        status = is_confirm ? confirm_running(fw) : FW_ERR_TEST_OF_ACTIVE;
    } else {
        status = make_pending(fw, is_confirm ? FW_PERMANENT : FW_TEST);
    }
    return status == FW_OK ? fw_image_state_read(fw, request, answer) : status;
}

/* From now on the image in slot 1 is nobody's way back. */
static int give_up_slot_1(fw_firmware *fw)
{
    fw_state next = fw->state;
    next.good = (uint8_t)(next.good & ~(1u << fw_slot_bank(fw, 1)));
    return remember(fw, next);
}

/* The fields that come with offset 0. */
typedef struct {
    uint32_t size;
    const uint8_t *sha;
    bool is_upgrade_only;
} announcement;

static int read_announcement(const fw_map *request, announcement *a)
{
    uint32_t image = 0;
    size_t sha_size = FW_SHA256_SIZE;
    memset(a, 0, sizeof *a);
    if (fw_map_uint(request, "image", UINT32_MAX, &image) < 0 ||
        fw_map_bytes(request, "sha", &a->sha, &sha_size) < 0 ||
        fw_map_bool(request, "upgrade", &a->is_upgrade_only) < 0) {
        return FW_ERR_INVALID;
    }
    if (image != 0) {
        return FW_ERR_INVALID_SLOT;
    }
    if (fw_map_uint(request, "len", UINT32_MAX, &a->size) != 1 || sha_size != FW_SHA256_SIZE) {
        return FW_ERR_INVALID_LENGTH;
    }
    return FW_OK;
}

/* Refuses before anything is erased. */
static int check_announcement(const fw_firmware *fw, const announcement *a, const uint8_t *data,
                              size_t data_size)
{
    fw_image image;
    if (is_slot_1_in_use(fw)) {
        return FW_ERR_NO_FREE_SLOT;
    }
    if (a->size > fw_bank_size(fw->board->flash)) {
        return FW_ERR_TOO_LARGE;
    }
    if (data_size > a->size) {
        return FW_ERR_DATA_OVERRUN;
    }
    if (data_size < FW_IMAGE_HEADER_SIZE) {
        return FW_ERR_INVALID_HEADER;
    }
    int status = fw_image_header(&image, data, a->size);
    if (status != FW_OK) {
        return status;
    }
    if (a->is_upgrade_only && fw->model.is_loaded &&
        fw_version_compare(&image.version, &fw->running.version) <= 0) {
        return FW_ERR_VERSION_IS_NEWER;
    }
    return FW_OK;
}

static bool is_same_session(const fw_upload *upload, const announcement *a)
{
    return upload->is_open && upload->has_sha && a->sha && upload->size == a->size &&
           memcmp(upload->sha, a->sha, sizeof upload->sha) == 0;
}

static int begin_upload(fw_firmware *fw, const fw_map *request, const uint8_t *data, size_t size)
{
    announcement a;
    int status = read_announcement(request, &a);
    if (status == FW_OK) {
        status = check_announcement(fw, &a, data, size);
    }
    if (status != FW_OK || is_same_session(&fw->upload, &a)) {
        return status;
    }
    status = give_up_slot_1(fw);
    if (status != FW_OK) {
        return status;
    }
    return fw_upload_begin(&fw->upload, fw->board->flash, fw_slot_bank(fw, 1), a.size, a.sha);
}

static void write_progress(const fw_firmware *fw, fw_writer *answer)
{
    const fw_upload *upload = &fw->upload;
    fw_put_uint(answer, "rc", 0);
    fw_put_uint(answer, "off", upload->offset);
    if (upload->has_sha && upload->offset == upload->size) {
        fw_put_bool(answer, "match", fw_upload_matches(upload, fw->board->flash));
    }
}

int fw_image_upload(fw_firmware *fw, const fw_map *request, fw_writer *answer)
{
    const uint8_t *data;
    size_t size;
    uint32_t offset;
    int status = FW_OK;
    if (fw_map_uint(request, "off", UINT32_MAX, &offset) != 1) {
        return FW_ERR_INVALID_OFFSET;
    }
    if (fw_map_bytes(request, "data", &data, &size) != 1) {
        return FW_ERR_INVALID;
    }
    if (offset == 0) {
        status = begin_upload(fw, request, data, size);
    }
    if (status == FW_OK && fw->upload.is_open && offset == fw->upload.offset) {
        status = fw_upload_append(&fw->upload, fw->board->flash, data, size);
    }
    if (status == FW_OK) {
        write_progress(fw, answer);
    }
    return status;
}

int fw_image_erase(fw_firmware *fw, const fw_map *request, fw_writer *answer)
{
    uint32_t slot = 1;
    (void)answer;
    if (fw_map_uint(request, "slot", UINT32_MAX, &slot) < 0) {
        return FW_ERR_INVALID;
    }
    if (slot != 1) {
        return FW_ERR_INVALID_SLOT;
    }
    if (is_slot_1_in_use(fw)) {
        return FW_ERR_NO_FREE_SLOT;
    }
    int status = give_up_slot_1(fw);
    return status == FW_OK
               ? fw_upload_erase(&fw->upload, fw->board->flash, fw_slot_bank(fw, 1))
               : status;
}
