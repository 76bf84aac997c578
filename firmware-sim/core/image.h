/* MCUboot images: form, digest, and who vouches for them. Reads in place, trusts no field.
 *
 * header | payload | protected TLVs | TLVs; the digest covers all but the last. Each signer leaves
 * KEYHASH and behind it ED25519 over the 32-byte digest. */

#ifndef WHERRY_FW_IMAGE_H
#define WHERRY_FW_IMAGE_H

#include "ed25519.h"
#include "sha2.h"
#include "status.h"

#define FW_IMAGE_HEADER_SIZE 32u
#define FW_SIGNERS_MAX 8u

typedef struct {
    uint8_t major;
    uint8_t minor;
    uint16_t revision;
    uint32_t build;
} fw_version;

/* Whose word counts, and how many different ones it takes. */
typedef struct {
    uint32_t threshold;    /* 1 to key_count; 0: nobody is trusted, nothing runs */
    uint32_t key_count;
    uint8_t keys[FW_SIGNERS_MAX][FW_KEY_SIZE];
} fw_trust;

typedef struct {
    fw_version version;
    uint32_t payload_offset;   /* from the image's start, a multiple of 16 */
    uint32_t payload_size;
    uint32_t hashed_size;      /* what the digest covers */
    uint32_t tlv_size;         /* of the TLV area behind that, its head included */
    uint8_t digest[FW_SHA256_SIZE];  /* as the SHA256 TLV states it */
} fw_image;

/* The header alone, of an image that has room for `size` bytes: FW_OK, FW_ERR_WRONG_MAGIC or
 * FW_ERR_INVALID_HEADER. Needs FW_IMAGE_HEADER_SIZE bytes. */
FW_MUST_CHECK int fw_image_header(fw_image *image, const uint8_t *bytes, size_t size);

/* Header and TLVs; digest and signatures are not looked at. */
FW_MUST_CHECK int fw_image_parse(fw_image *image, const uint8_t *bytes, size_t size);

/* All of it: FW_OK only for bytes that enough trusted, different signers vouch for. */
FW_MUST_CHECK int fw_image_verify(fw_image *image, const uint8_t *bytes, size_t size,
                                  const fw_trust *trust);

/* Less, equal or greater than 0. */
int fw_version_compare(const fw_version *a, const fw_version *b);

#endif
