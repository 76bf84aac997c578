#include "image.h"

#include <string.h>

#define MAGIC 0x96F3B83Du
#define TLV_MAGIC 0x6907u
#define PROTECTED_TLV_MAGIC 0x6908u
#define TLV_HEAD_SIZE 4u
#define TLV_KEYHASH 0x01u
#define TLV_SHA256 0x10u
#define TLV_ED25519 0x24u
#define PAYLOAD_ALIGNMENT 16u

static const uint8_t SPKI_PREFIX[12] = {0x30, 0x2A, 0x30, 0x05, 0x06, 0x03,
                                        0x2B, 0x65, 0x70, 0x03, 0x21, 0x00};

static uint32_t little_16(const uint8_t *at)
{
    return (uint32_t)(at[0] | (at[1] << 8));
}

static uint32_t little_32(const uint8_t *at)
{
    return little_16(at) | (little_16(at + 2) << 16);
}

int fw_image_header(fw_image *image, const uint8_t *bytes, size_t size)
{
    if (size < FW_IMAGE_HEADER_SIZE) {
        return FW_ERR_INVALID_HEADER;
    }
    if (little_32(bytes) != MAGIC) {
        return FW_ERR_WRONG_MAGIC;
    }
    uint32_t header = little_16(bytes + 8);
    uint32_t protected_size = little_16(bytes + 10);
    image->payload_offset = header;
    image->payload_size = little_32(bytes + 12);
    image->version.major = bytes[20];
    image->version.minor = bytes[21];
    image->version.revision = (uint16_t)little_16(bytes + 22);
    image->version.build = little_32(bytes + 24);
    bool is_plain = little_32(bytes + 16) == 0;  /* no flag: not encrypted, not compressed */
    if (header < FW_IMAGE_HEADER_SIZE || header % PAYLOAD_ALIGNMENT != 0 || !is_plain ||
        image->payload_size == 0 || header + protected_size + TLV_HEAD_SIZE > size ||
        image->payload_size > size - header - protected_size - TLV_HEAD_SIZE) {
        return FW_ERR_INVALID_HEADER;
    }
    image->hashed_size = header + image->payload_size + protected_size;
    return FW_OK;
}

/* The area's head at `at`: its size with the head, or 0. */
static uint32_t area_size(const uint8_t *bytes, size_t size, uint32_t at, uint32_t magic)
{
    if (at > size || size - at < TLV_HEAD_SIZE || little_16(bytes + at) != magic) {
        return 0;
    }
    uint32_t total = little_16(bytes + at + 2);
    return total >= TLV_HEAD_SIZE && total <= size - at ? total : 0;
}

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
    uint32_t type;
    const uint8_t *value;
    uint32_t size;
} tlv;

/* 1: the next record; 0: no more; FW_ERR_INVALID_TLV: it leaves its area. */
static int next_tlv(tlv *t)
{
    if (t->at == t->end) {
        return 0;
    }
    if ((size_t)(t->end - t->at) < TLV_HEAD_SIZE) {
        return FW_ERR_INVALID_TLV;
    }
    t->type = little_16(t->at);
    t->size = little_16(t->at + 2);
    t->value = t->at + TLV_HEAD_SIZE;
    if (t->size > (size_t)(t->end - t->value)) {
        return FW_ERR_INVALID_TLV;
    }
    t->at = t->value + t->size;
    return 1;
}

static tlv first_tlv(const fw_image *image, const uint8_t *bytes)
{
    const uint8_t *area = bytes + image->hashed_size;
    tlv t = {area + TLV_HEAD_SIZE, area + image->tlv_size, 0, NULL, 0};
    return t;
}

static int read_digest(fw_image *image, const uint8_t *bytes)
{
    unsigned count = 0;
    int more;
    tlv t = first_tlv(image, bytes);
    while ((more = next_tlv(&t)) == 1) {
        if (t.type != TLV_SHA256) {
            continue;
        }
        if (t.size != FW_SHA256_SIZE) {
            return FW_ERR_INVALID_TLV;
        }
        memcpy(image->digest, t.value, FW_SHA256_SIZE);
        count++;
    }
    if (more < 0) {
        return more;
    }
    return count == 1 ? FW_OK : FW_ERR_HASH_NOT_FOUND;
}

int fw_image_parse(fw_image *image, const uint8_t *bytes, size_t size)
{
    int status = fw_image_header(image, bytes, size);
    if (status != FW_OK) {
        return status;
    }
    uint32_t payload_end = image->payload_offset + image->payload_size;
    uint32_t protected_size = image->hashed_size - payload_end;
    if (protected_size != 0 &&
        area_size(bytes, size, payload_end, PROTECTED_TLV_MAGIC) != protected_size) {
        return FW_ERR_INVALID_TLV;
    }
    image->tlv_size = area_size(bytes, size, image->hashed_size, TLV_MAGIC);
    if (image->tlv_size == 0) {
        return FW_ERR_NO_TLVS;
    }
    return read_digest(image, bytes);
}

static bool is_hash_of_key(const uint8_t *hash, const uint8_t *key)
{
    uint8_t expected[FW_SHA256_SIZE];
    fw_sha256_state state;
    fw_sha256_begin(&state);
    fw_sha256_add(&state, SPKI_PREFIX, sizeof SPKI_PREFIX);
    fw_sha256_add(&state, key, FW_KEY_SIZE);
    fw_sha256_end(&state, expected);
    return memcmp(hash, expected, sizeof expected) == 0;
}

/* The bits of the trusted keys that this signature is the word of: none or one. */
static uint32_t signer(const fw_trust *trust, const uint8_t *hash, const uint8_t *signature,
                       const uint8_t *digest)
{
    for (uint32_t i = 0; i < trust->key_count; i++) {
        if (is_hash_of_key(hash, trust->keys[i])) {
            bool holds = fw_ed25519_holds(signature, trust->keys[i], digest, FW_SHA256_SIZE);
            return holds ? 1u << i : 0u;
        }
    }
    return 0;
}

/* How many different trusted keys vouch for the digest. At most FW_SIGNERS_MAX signatures are
 * looked at, so that an image cannot keep the processor busy. */
static uint32_t count_signers(const fw_image *image, const uint8_t *bytes, const fw_trust *trust)
{
    uint32_t signers = 0;
    uint32_t looked_at = 0;
    const uint8_t *hash = NULL;
    tlv t = first_tlv(image, bytes);
    while (next_tlv(&t) == 1 && looked_at < FW_SIGNERS_MAX) {
        if (t.type == TLV_KEYHASH) {
            hash = t.size == FW_SHA256_SIZE ? t.value : NULL;
        } else if (t.type == TLV_ED25519) {
            if (hash && t.size == FW_SIGNATURE_SIZE) {
                signers |= signer(trust, hash, t.value, image->digest);
            }
            hash = NULL;
            looked_at++;
        }
    }
    uint32_t count = 0;
    for (; signers; signers &= signers - 1u) {
        count++;
    }
    return count;
}

int fw_image_verify(fw_image *image, const uint8_t *bytes, size_t size, const fw_trust *trust)
{
    uint8_t digest[FW_SHA256_SIZE];
    int status = fw_image_parse(image, bytes, size);
    if (status != FW_OK) {
        return status;
    }
    fw_sha256(bytes, image->hashed_size, digest);
    if (memcmp(digest, image->digest, sizeof digest) != 0) {
        return FW_ERR_INVALID_HASH;
    }
    if (trust->threshold == 0 || count_signers(image, bytes, trust) < trust->threshold) {
        return FW_ERR_SIGNATURES;
    }
    return FW_OK;
}

static int compare(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

int fw_version_compare(const fw_version *a, const fw_version *b)
{
    int order = compare(a->major, b->major);
    order = order ? order : compare(a->minor, b->minor);
    order = order ? order : compare(a->revision, b->revision);
    return order ? order : compare(a->build, b->build);
}
