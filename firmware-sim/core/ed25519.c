/* The curve is Monocypher's; SHA-512 is ours, because Monocypher's core brings BLAKE2b only. */

#include "ed25519.h"

#include "monocypher.h"
#include "sha2.h"

bool fw_ed25519_holds(const uint8_t signature[FW_SIGNATURE_SIZE], const uint8_t key[FW_KEY_SIZE],
                      const uint8_t *message, size_t size)
{
    fw_sha512_state state;
    uint8_t hash[FW_SHA512_SIZE];
    uint8_t reduced[32];
    fw_sha512_begin(&state);
    fw_sha512_add(&state, signature, 32);
    fw_sha512_add(&state, key, FW_KEY_SIZE);
    fw_sha512_add(&state, message, size);
    fw_sha512_end(&state, hash);
    crypto_eddsa_reduce(reduced, hash);
    return crypto_eddsa_check_equation(signature, key, reduced) == 0;
}
