/* The firmware of a microcontroller that runs signed models: boot, serial line, commands.
 *
 * The board gives it flash, a clock and a wire; everything else is in here and in one struct that
 * the caller owns. Invariant: what runs was verified on this boot, where it lies. */

#ifndef WHERRY_FW_FIRMWARE_H
#define WHERRY_FW_FIRMWARE_H

#include "boot.h"
#include "cbor.h"
#include "flash.h"
#include "frame.h"
#include "image.h"
#include "model.h"
#include "upload.h"

#define FW_WHERRY_GROUP 87u

typedef struct {
    const fw_flash *flash;
    uint8_t *arena;                 /* for the running program, aligned to 16 */
    uint32_t arena_size;            /* bytes */
    void *context;                  /* of the functions below */
    uint64_t (*now_ns)(void *context);   /* monotonic, since any moment before the start */
    uint64_t (*cycles)(void *context);   /* a running counter; NULL: there is none */
    void (*transmit)(void *context, const uint8_t *bytes, size_t size);
} fw_board;

typedef struct {
    const fw_board *board;
    fw_trust trust;
    fw_state state;
    fw_boot_action boot;
    fw_image running;               /* while model.is_loaded */
    fw_model model;
    fw_upload upload;
    fw_frame_decoder decoder;
    uint64_t started_ns;
    bool wants_reset;               /* the board starts it again, once the wire is quiet */
    uint8_t answer[FW_PACKET_MAX];
} fw_firmware;

/* Boots: reads trust and state, verifies the banks, decides by the table, remembers, loads.
 * FW_OK also where nothing may run (it then waits for an upload); a flash error otherwise. */
FW_MUST_CHECK int fw_start(fw_firmware *fw, const fw_board *board);

/* One byte from the wire. May write flash, run an inference and transmit an answer. */
void fw_receive(fw_firmware *fw, uint8_t byte);

/* Form, digest, signers and program of what a bank holds: FW_OK only if it may run. */
FW_MUST_CHECK int fw_check_bank(const fw_firmware *fw, uint32_t bank, fw_image *image);

/* The bank that slot 0 (runs) or 1 (takes uploads) stands for at present. */
uint32_t fw_slot_bank(const fw_firmware *fw, uint32_t slot);

/* Is the running image confirmed? */
bool fw_is_confirmed(const fw_firmware *fw);

/* --- commands: a request's map in, an answer's pairs out, FW_OK or a refusal. ----------------- */

FW_MUST_CHECK int fw_os_echo(fw_firmware *fw, const fw_map *request, fw_writer *answer);
FW_MUST_CHECK int fw_os_reset(fw_firmware *fw, const fw_map *request, fw_writer *answer);
FW_MUST_CHECK int fw_os_parameters(fw_firmware *fw, const fw_map *request, fw_writer *answer);
FW_MUST_CHECK int fw_image_state_read(fw_firmware *fw, const fw_map *request, fw_writer *answer);
FW_MUST_CHECK int fw_image_state_write(fw_firmware *fw, const fw_map *request, fw_writer *answer);
FW_MUST_CHECK int fw_image_upload(fw_firmware *fw, const fw_map *request, fw_writer *answer);
FW_MUST_CHECK int fw_image_erase(fw_firmware *fw, const fw_map *request, fw_writer *answer);
FW_MUST_CHECK int fw_wherry_infer(fw_firmware *fw, const fw_map *request, fw_writer *answer);
FW_MUST_CHECK int fw_wherry_statistics(fw_firmware *fw, const fw_map *request, fw_writer *answer);
FW_MUST_CHECK int fw_wherry_histogram(fw_firmware *fw, const fw_map *request, fw_writer *answer);

/* "1.2.3", or "1.2.3.4" where there is a build number. */
#define FW_VERSION_TEXT_MAX 24u
void fw_version_text(const fw_version *version, char text[FW_VERSION_TEXT_MAX]);

#endif
