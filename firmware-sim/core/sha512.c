/* SHA-512: FIPS 180-4, sections 6.4 and 4.2.3. */

#include "sha2.h"

#include <string.h>

#define BLOCK_SIZE 128u
#define LENGTH_SIZE 16u

static const uint64_t ROUND_CONSTANTS[80] = {
    0x428a2f98d728ae22ULL, 0x7137449123ef65cdULL, 0xb5c0fbcfec4d3b2fULL, 0xe9b5dba58189dbbcULL,
    0x3956c25bf348b538ULL, 0x59f111f1b605d019ULL, 0x923f82a4af194f9bULL, 0xab1c5ed5da6d8118ULL,
    0xd807aa98a3030242ULL, 0x12835b0145706fbeULL, 0x243185be4ee4b28cULL, 0x550c7dc3d5ffb4e2ULL,
    0x72be5d74f27b896fULL, 0x80deb1fe3b1696b1ULL, 0x9bdc06a725c71235ULL, 0xc19bf174cf692694ULL,
    0xe49b69c19ef14ad2ULL, 0xefbe4786384f25e3ULL, 0x0fc19dc68b8cd5b5ULL, 0x240ca1cc77ac9c65ULL,
    0x2de92c6f592b0275ULL, 0x4a7484aa6ea6e483ULL, 0x5cb0a9dcbd41fbd4ULL, 0x76f988da831153b5ULL,
    0x983e5152ee66dfabULL, 0xa831c66d2db43210ULL, 0xb00327c898fb213fULL, 0xbf597fc7beef0ee4ULL,
    0xc6e00bf33da88fc2ULL, 0xd5a79147930aa725ULL, 0x06ca6351e003826fULL, 0x142929670a0e6e70ULL,
    0x27b70a8546d22ffcULL, 0x2e1b21385c26c926ULL, 0x4d2c6dfc5ac42aedULL, 0x53380d139d95b3dfULL,
    0x650a73548baf63deULL, 0x766a0abb3c77b2a8ULL, 0x81c2c92e47edaee6ULL, 0x92722c851482353bULL,
    0xa2bfe8a14cf10364ULL, 0xa81a664bbc423001ULL, 0xc24b8b70d0f89791ULL, 0xc76c51a30654be30ULL,
    0xd192e819d6ef5218ULL, 0xd69906245565a910ULL, 0xf40e35855771202aULL, 0x106aa07032bbd1b8ULL,
    0x19a4c116b8d2d0c8ULL, 0x1e376c085141ab53ULL, 0x2748774cdf8eeb99ULL, 0x34b0bcb5e19b48a8ULL,
    0x391c0cb3c5c95a63ULL, 0x4ed8aa4ae3418acbULL, 0x5b9cca4f7763e373ULL, 0x682e6ff3d6b2b8a3ULL,
    0x748f82ee5defb2fcULL, 0x78a5636f43172f60ULL, 0x84c87814a1f0ab72ULL, 0x8cc702081a6439ecULL,
    0x90befffa23631e28ULL, 0xa4506cebde82bde9ULL, 0xbef9a3f7b2c67915ULL, 0xc67178f2e372532bULL,
    0xca273eceea26619cULL, 0xd186b8c721c0c207ULL, 0xeada7dd6cde0eb1eULL, 0xf57d4f7fee6ed178ULL,
    0x06f067aa72176fbaULL, 0x0a637dc5a2c898a6ULL, 0x113f9804bef90daeULL, 0x1b710b35131c471bULL,
    0x28db77f523047d84ULL, 0x32caab7b40c72493ULL, 0x3c9ebe0a15c9bebcULL, 0x431d67c49c100d4cULL,
    0x4cc5d4becb3e42b6ULL, 0x597f299cfc657e2aULL, 0x5fcb6fab3ad6faecULL, 0x6c44198c4a475817ULL};

static uint64_t rotate(uint64_t x, unsigned count)
{
    return (x >> count) | (x << (64u - count));
}

static uint64_t load(const uint8_t *at)
{
    uint64_t word = 0;
    for (unsigned i = 0; i < 8u; i++) {
        word = (word << 8) | at[i];
    }
    return word;
}

static void store(uint8_t *at, uint64_t word)
{
    for (unsigned i = 0; i < 8u; i++) {
        at[i] = (uint8_t)(word >> (56u - 8u * i));
    }
}

static void expand(uint64_t w[80], const uint8_t *block)
{
    for (unsigned i = 0; i < 16; i++) {
        w[i] = load(block + 8u * i);
    }
    for (unsigned i = 16; i < 80; i++) {
        uint64_t a = w[i - 15];
        uint64_t b = w[i - 2];
        uint64_t s0 = rotate(a, 1) ^ rotate(a, 8) ^ (a >> 7);
        uint64_t s1 = rotate(b, 19) ^ rotate(b, 61) ^ (b >> 6);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
}

static void compress(uint64_t h[8], const uint8_t *block)
{
    uint64_t w[80];
    uint64_t v[8];
    expand(w, block);
    memcpy(v, h, sizeof v);
    for (unsigned i = 0; i < 80; i++) {
        uint64_t e = v[4];
        uint64_t a = v[0];
        uint64_t s1 = rotate(e, 14) ^ rotate(e, 18) ^ rotate(e, 41);
        uint64_t s0 = rotate(a, 28) ^ rotate(a, 34) ^ rotate(a, 39);
        uint64_t choose = (e & v[5]) ^ (~e & v[6]);
        uint64_t majority = (a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]);
        uint64_t t = v[7] + s1 + choose + ROUND_CONSTANTS[i] + w[i];
        memmove(v + 1, v, 7 * sizeof v[0]);
        v[4] += t;
        v[0] = t + s0 + majority;
    }
    for (unsigned i = 0; i < 8; i++) {
        h[i] += v[i];
    }
}

void fw_sha512_begin(fw_sha512_state *state)
{
    static const uint64_t START[8] = {
        0x6a09e667f3bcc908ULL, 0xbb67ae8584caa73bULL, 0x3c6ef372fe94f82bULL,
        0xa54ff53a5f1d36f1ULL, 0x510e527fade682d1ULL, 0x9b05688c2b3e6c1fULL,
        0x1f83d9abfb41bd6bULL, 0x5be0cd19137e2179ULL};
    memcpy(state->h, START, sizeof START);
    state->size = 0;
}

void fw_sha512_add(fw_sha512_state *state, const uint8_t *data, size_t size)
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

void fw_sha512_end(fw_sha512_state *state, uint8_t digest[FW_SHA512_SIZE])
{
    static const uint8_t PADDING[BLOCK_SIZE] = {0x80};
    uint64_t bits = state->size * 8u;
    size_t held = (size_t)(state->size % BLOCK_SIZE);
    size_t room = BLOCK_SIZE - LENGTH_SIZE;
    fw_sha512_add(state, PADDING, held < room ? room - held : room + BLOCK_SIZE - held);
    uint8_t length[LENGTH_SIZE] = {0};
    for (unsigned i = 0; i < 8; i++) {
        length[LENGTH_SIZE - 1u - i] = (uint8_t)(bits >> (8u * i));
    }
    fw_sha512_add(state, length, sizeof length);
    for (unsigned i = 0; i < 8; i++) {
        store(digest + 8u * i, state->h[i]);
    }
}
