#include "cbor.h"

#include <string.h>

#define INDEFINITE UINT64_MAX
#define BREAK 0xFFu

/* One item's head, and the bytes of a string. */
typedef struct {
    fw_cbor_major major;
    uint64_t value;         /* number, length or count; INDEFINITE for such a map or array */
    const uint8_t *bytes;   /* of a string */
} item;

typedef struct {
    const uint8_t *at;
    const uint8_t *end;
} reader;

static bool read_value(reader *r, unsigned info, uint64_t *value)
{
    if (info < 24) {
        *value = info;
        return true;
    }
    if (info > 27) {
        return false;
    }
    size_t size = (size_t)1 << (info - 24u);
    if ((size_t)(r->end - r->at) < size) {
        return false;
    }
    *value = 0;
    for (size_t i = 0; i < size; i++) {
        *value = (*value << 8) | *r->at++;
    }
    return *value != INDEFINITE;
}

static bool read_item(reader *r, item *out)
{
    if (r->at == r->end) {
        return false;
    }
    uint8_t head = *r->at++;
    out->major = (fw_cbor_major)(head >> 5);
    out->bytes = NULL;
    bool is_container = out->major == FW_CBOR_ARRAY || out->major == FW_CBOR_MAP;
    if (is_container && (head & 31u) == 31u) {
        out->value = INDEFINITE;
        return true;
    }
    if (!read_value(r, head & 31u, &out->value)) {
        return false;
    }
    if (out->major == FW_CBOR_BYTES || out->major == FW_CBOR_TEXT) {
        if (out->value > (uint64_t)(r->end - r->at)) {
            return false;
        }
        out->bytes = r->at;
        r->at += out->value;
    }
    return true;
}

static bool at_break(reader *r)
{
    if (r->at < r->end && *r->at == BREAK) {
        r->at++;
        return true;
    }
    return false;
}

/* Passes over one whole item. The depth bounds the recursion; each step takes a byte at least, so
 * the packet bounds the loop. */
static bool skip(reader *r, unsigned depth)
{
    item head;
    if (depth > FW_CBOR_DEPTH_MAX || !read_item(r, &head)) {
        return false;
    }
    if (head.major == FW_CBOR_TAG) {
        return skip(r, depth + 1u);
    }
    if (head.major != FW_CBOR_ARRAY && head.major != FW_CBOR_MAP) {
        return true;
    }
    for (uint64_t i = 0; i < head.value; i++) {
        if (head.value == INDEFINITE && at_break(r)) {
            return true;
        }
        if (!skip(r, depth + 1u) || (head.major == FW_CBOR_MAP && !skip(r, depth + 1u))) {
            return false;
        }
    }
    return true;
}

static bool skip_pair(reader *r)
{
    item key;
    return read_item(r, &key) && key.major == FW_CBOR_TEXT && skip(r, 1);
}

int fw_map_open(fw_map *map, const uint8_t *data, size_t size)
{
    reader r = {data, data + size};
    item head;
    if (!read_item(&r, &head) || head.major != FW_CBOR_MAP) {
        return FW_ERR_INVALID;
    }
    map->data = r.at;
    for (uint64_t i = 0; i < head.value; i++) {
        map->end = r.at;
        if (head.value == INDEFINITE && at_break(&r)) {
            return r.at == r.end ? FW_OK : FW_ERR_INVALID;
        }
        if (!skip_pair(&r)) {
            return FW_ERR_INVALID;
        }
    }
    map->end = r.at;
    return r.at == r.end ? FW_OK : FW_ERR_INVALID;
}

static bool find(const fw_map *map, const char *key, item *value)
{
    reader r = {map->data, map->end};
    size_t key_size = strlen(key);
    item name;
    while (r.at < r.end && read_item(&r, &name)) {
        if (name.value == key_size && memcmp(name.bytes, key, key_size) == 0) {
            return read_item(&r, value);
        }
        if (!skip(&r, 1)) {
            return false;
        }
    }
    return false;
}

int fw_map_uint(const fw_map *map, const char *key, uint32_t max, uint32_t *value)
{
    item found;
    if (!find(map, key, &found)) {
        return 0;
    }
    if (found.major != FW_CBOR_UINT || found.value > max) {
        return FW_ERR_INVALID;
    }
    *value = (uint32_t)found.value;
    return 1;
}

int fw_map_bool(const fw_map *map, const char *key, bool *value)
{
    item found;
    if (!find(map, key, &found)) {
        return 0;
    }
    if (found.major != FW_CBOR_SIMPLE || (found.value != 20 && found.value != 21)) {
        return FW_ERR_INVALID;
    }
    *value = found.value == 21;
    return 1;
}

static int find_string(const fw_map *map, const char *key, fw_cbor_major major,
                       const uint8_t **bytes, size_t *size)
{
    item found;
    if (!find(map, key, &found)) {
        return 0;
    }
    if (found.major != major) {
        return FW_ERR_INVALID;
    }
    *bytes = found.bytes;
    *size = (size_t)found.value;
    return 1;
}

int fw_map_bytes(const fw_map *map, const char *key, const uint8_t **bytes, size_t *size)
{
    return find_string(map, key, FW_CBOR_BYTES, bytes, size);
}

int fw_map_text(const fw_map *map, const char *key, const uint8_t **text, size_t *size)
{
    return find_string(map, key, FW_CBOR_TEXT, text, size);
}
