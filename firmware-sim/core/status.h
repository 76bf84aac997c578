/* What can go wrong in the firmware, as SMP will say it.
 *
 * A status is minus (hundreds: the SMP group; rest: the group's result code), so that a refusal
 * reaches the wire without a table: 0xx general, 1xx image group, 2xx Wherry group. */

#ifndef WHERRY_FW_STATUS_H
#define WHERRY_FW_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define FW_MUST_CHECK __attribute__((warn_unused_result))
#else
#define FW_MUST_CHECK
#endif

typedef enum {
    FW_OK = 0,
    FW_ERR_UNKNOWN = -1,
    FW_ERR_INVALID = -3,                 /* a field is missing, of another type or out of range */
    FW_ERR_ANSWER_SIZE = -7,             /* the answer does not fit a packet */
    FW_ERR_NOT_SUPPORTED = -8,           /* no such group, command or operation */
    FW_ERR_NO_IMAGE = -103,
    FW_ERR_NO_TLVS = -104,
    FW_ERR_INVALID_TLV = -105,
    FW_ERR_HASH_NOT_FOUND = -108,        /* no SHA256 TLV, or two */
    FW_ERR_NO_FREE_SLOT = -109,          /* slot 1 holds a pending image or the way back */
    FW_ERR_FLASH_WRITE = -112,
    FW_ERR_FLASH_ERASE = -113,
    FW_ERR_INVALID_SLOT = -114,
    FW_ERR_NO_MEMORY = -115,             /* the program's arena is larger than ours */
    FW_ERR_INVALID_OFFSET = -120,
    FW_ERR_INVALID_LENGTH = -121,
    FW_ERR_INVALID_HEADER = -122,
    FW_ERR_WRONG_MAGIC = -123,
    FW_ERR_INVALID_HASH = -124,          /* the image's bytes do not have the digest it states */
    FW_ERR_VERSION_IS_NEWER = -127,
    FW_ERR_ALREADY_PENDING = -128,
    FW_ERR_INVALID_PROGRAM = -129,       /* the engine refuses the payload */
    FW_ERR_TOO_LARGE = -130,
    FW_ERR_DATA_OVERRUN = -131,
    FW_ERR_SIGNATURES = -132,            /* fewer trusted signers than the threshold */
    FW_ERR_TEST_OF_ACTIVE = -133,
    FW_ERR_NO_MODEL = -201,
    FW_ERR_INPUT_OFFSET = -202,
    FW_ERR_INPUT_TOO_LONG = -203,
    FW_ERR_ENGINE = -204,
    FW_ERR_OUTPUT_TOO_LARGE = -205
} fw_status;

#endif
