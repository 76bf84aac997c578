/* An image on its way into a bank: in order, resumable, also after a loss of power.
 *
 * A session is named by the image's SHA-256 and size. Its journal (one record in the upload
 * sector) is written when the bank is blank, so after a cut everything up to the last byte that is
 * not blank came from this session; the last sector is erased and sent again, because its end may
 * be torn. */

#ifndef WHERRY_FW_UPLOAD_H
#define WHERRY_FW_UPLOAD_H

#include "flash.h"
#include "sha2.h"

typedef struct {
    bool is_open;
    bool has_sha;
    uint32_t bank;
    uint32_t size;                   /* bytes of the whole image */
    uint32_t offset;                 /* bytes taken, the tail included */
    uint8_t sha[FW_SHA256_SIZE];     /* of the whole file, as the sender states it */
    uint8_t tail[FW_WRITE_UNIT];     /* bytes that do not fill a unit yet */
} fw_upload;

/* Makes the bank ready for an image of `size` bytes; `sha` is NULL where the sender gave none.
 * Afterwards `offset` says where to go on: 0, or more where the bank has a part already; a bank
 * that has all of it leaves a closed session with offset == size. FW_OK or a flash error. */
FW_MUST_CHECK int fw_upload_begin(fw_upload *upload, const fw_flash *flash, uint32_t bank,
                                  uint32_t size, const uint8_t *sha);

/* Takes the bytes at `offset`. The last ones close the session. FW_OK, FW_ERR_DATA_OVERRUN or a
 * flash error. */
FW_MUST_CHECK int fw_upload_append(fw_upload *upload, const fw_flash *flash, const uint8_t *data,
                                   size_t size);

/* Does the bank hold what the sender stated? */
bool fw_upload_matches(const fw_upload *upload, const fw_flash *flash);

/* Forgets the session, its journal and what the bank holds. FW_OK or a flash error. */
FW_MUST_CHECK int fw_upload_erase(fw_upload *upload, const fw_flash *flash, uint32_t bank);

#endif
