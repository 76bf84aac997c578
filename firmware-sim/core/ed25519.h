/* Ed25519 (RFC 8032): is this signature this key's word for this message? */

#ifndef WHERRY_FW_ED25519_H
#define WHERRY_FW_ED25519_H

#include "status.h"

#define FW_KEY_SIZE 32u
#define FW_SIGNATURE_SIZE 64u

bool fw_ed25519_holds(const uint8_t signature[FW_SIGNATURE_SIZE], const uint8_t key[FW_KEY_SIZE],
                      const uint8_t *message, size_t size);

#endif
