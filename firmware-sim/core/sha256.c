/* SHA-256: FIPS 180-4, sections 6.2 and 4.2.2. */

#include "sha2.h"

#include <string.h>

#define BLOCK_SIZE 64u
#define LENGTH_SIZE 8u

static const uint32_t ROUND_CONSTANTS[64] = {
    0x428a2f98u, 0x71374491u, 0xb5c0fbcfu, 0xe9b5dba5u, 0x3956c25bu, 0x59f111f1u,
    0x923f82a4u, 0xab1c5ed5u, 0xd807aa98u, 0x12835b01u, 0x243185beu, 0x550c7dc3u,
    0x72be5d74u, 0x80deb1feu, 0x9bdc06a7u, 0xc19bf174u, 0xe49b69c1u, 0xefbe4786u,
    0x0fc19dc6u, 0x240ca1ccu, 0x2de92c6fu, 0x4a7484aau, 0x5cb0a9dcu, 0x76f988dau,
    0x983e5152u, 0xa831c66du, 0xb00327c8u, 0xbf597fc7u, 0xc6e00bf3u, 0xd5a79147u,
    0x06ca6351u, 0x14292967u, 0x27b70a85u, 0x2e1b2138u, 0x4d2c6dfcu, 0x53380d13u,
    0x650a7354u, 0x766a0abbu, 0x81c2c92eu, 0x92722c85u, 0xa2bfe8a1u, 0xa81a664bu,
    0xc24b8b70u, 0xc76c51a3u, 0xd192e819u, 0xd6990624u, 0xf40e3585u, 0x106aa070u,
    0x19a4c116u, 0x1e376c08u, 0x2748774cu, 0x34b0bcb5u, 0x391c0cb3u, 0x4ed8aa4au,
    0x5b9cca4fu, 0x682e6ff3u, 0x748f82eeu, 0x78a5636fu, 0x84c87814u, 0x8cc70208u,
    0x90befffau, 0xa4506cebu, 0xbef9a3f7u, 0xc67178f2u};

static uint32_t rotate(uint32_t x, unsigned count)
{
    return (x >> count) | (x << (32u - count));
}

static uint32_t load(const uint8_t *at)
{
    uint32_t word = 0;
    for (unsigned i = 0; i < 4u; i++) {
        word = (word << 8) | at[i];
    }
    return word;
}

static void store(uint8_t *at, uint32_t word)
{
    for (unsigned i = 0; i < 4u; i++) {
        at[i] = (uint8_t)(word >> (24u - 8u * i));
    }
}

static void expand(uint32_t w[64], const uint8_t *block)
{
    for (unsigned i = 0; i < 16; i++) {
        w[i] = load(block + 4u * i);
    }
    for (unsigned i = 16; i < 64; i++) {
        uint32_t a = w[i - 15];
        uint32_t b = w[i - 2];
        uint32_t s0 = rotate(a, 7) ^ rotate(a, 18) ^ (a >> 3);
        uint32_t s1 = rotate(b, 17) ^ rotate(b, 19) ^ (b >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
}

static void compress(uint32_t h[8], const uint8_t *block)
{
    uint32_t w[64];
    uint32_t v[8];
    expand(w, block);
    memcpy(v, h, sizeof v);
    for (unsigned i = 0; i < 64; i++) {
        uint32_t e = v[4];
        uint32_t a = v[0];
        uint32_t s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
        uint32_t s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
        uint32_t choose = (e & v[5]) ^ (~e & v[6]);
        uint32_t majority = (a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]);
        uint32_t t = v[7] + s1 + choose + ROUND_CONSTANTS[i] + w[i];
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t;
        v[0] = t + s0 + majority;
    }
    for (unsigned i = 0; i < 8; i++) {
        h[i] += v[i];
    }
}

void fw_sha256_begin(fw_sha256_state *state)
{
    static const uint32_t START[8] = {
        0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
        0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u};
    memcpy(state->h, START, sizeof START);
    state->size = 0;
}

void fw_sha256_add(fw_sha256_state *state, const uint8_t *data, size_t size)
{
    while (size > 0) {
        size_t held = (size_t)(state->size % BLOCK_SIZE);
        size_t piece = BLOCK_SIZE - held < size ? BLOCK_SIZE - held : size;
        memcpy(state->block + held, data, piece);
        state->size += piece;
        data += piece;
        size -= piece;
        if (held + piece == BLOCK_SIZE) {
            compress(state->h, state->block);
        }
    }
}

void fw_sha256_end(fw_sha256_state *state, uint8_t digest[FW_SHA256_SIZE])
{
    static const uint8_t PADDING[BLOCK_SIZE] = {0x80};
    uint64_t bits = state->size * 8u;
    size_t held = (size_t)(state->size % BLOCK_SIZE);
    size_t room = BLOCK_SIZE - LENGTH_SIZE;
    fw_sha256_add(state, PADDING, held < room ? room - held : room + BLOCK_SIZE - held);
    uint8_t length[LENGTH_SIZE] = {0};
    for (unsigned i = 0; i < 8; i++) {
        length[LENGTH_SIZE - 1u - i] = (uint8_t)(bits >> (8u * i));
    }
    fw_sha256_add(state, length, sizeof length);
    for (unsigned i = 0; i < 8; i++) {
        store(digest + 4u * i, state->h[i]);
    }
}

void fw_sha256(const uint8_t *data, size_t size, uint8_t digest[FW_SHA256_SIZE])
{
    fw_sha256_state state;
    fw_sha256_begin(&state);
    fw_sha256_add(&state, data, size);
    fw_sha256_end(&state, digest);
}
