/* SHA-256 and SHA-512 (FIPS 180-4), freestanding. The caller owns the state; a state is spent by
 * its final call. */

#ifndef WHERRY_FW_SHA2_H
#define WHERRY_FW_SHA2_H

#include <stddef.h>
#include <stdint.h>

#define FW_SHA256_SIZE 32u
#define FW_SHA512_SIZE 64u

typedef struct {
    uint32_t h[8];
    uint64_t size;      /* bytes so far */
    uint8_t block[64];
} fw_sha256_state;

typedef struct {
    uint64_t h[8];
    uint64_t size;      /* bytes so far; messages end below 2^61 bytes */
    uint8_t block[128];
} fw_sha512_state;

void fw_sha256_begin(fw_sha256_state *state);
void fw_sha256_add(fw_sha256_state *state, const uint8_t *data, size_t size);
void fw_sha256_end(fw_sha256_state *state, uint8_t digest[FW_SHA256_SIZE]);
void fw_sha256(const uint8_t *data, size_t size, uint8_t digest[FW_SHA256_SIZE]);

void fw_sha512_begin(fw_sha512_state *state);
void fw_sha512_add(fw_sha512_state *state, const uint8_t *data, size_t size);
void fw_sha512_end(fw_sha512_state *state, uint8_t digest[FW_SHA512_SIZE]);

#endif
