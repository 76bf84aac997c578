/* Provisioning: the trusted keys and the threshold, written once, with a CRC, to their sector. */

#ifndef WHERRY_FW_TRUST_H
#define WHERRY_FW_TRUST_H

#include "flash.h"
#include "image.h"

/* False, and nobody trusted, where the sector holds no sound record. */
bool fw_trust_read(const fw_flash *flash, fw_trust *trust);

/* Erases the sector and writes the record. FW_OK, FW_ERR_INVALID or a flash error. */
FW_MUST_CHECK int fw_trust_write(const fw_flash *flash, const fw_trust *trust);

#endif
