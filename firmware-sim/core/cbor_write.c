#include "cbor.h"

#include <string.h>

static void put(fw_writer *w, const uint8_t *data, size_t size)
{
    if (w->is_overflown || size > w->capacity - w->size) {
        w->is_overflown = true;
        return;
    }
    memcpy(w->data + w->size, data, size);
    w->size += size;
}

static void put_byte(fw_writer *w, uint8_t byte)
{
    put(w, &byte, 1);
}

/* The shortest head, as RFC 8949 prefers. */
static void put_head(fw_writer *w, fw_cbor_major major, uint64_t value)
{
    uint8_t type = (uint8_t)((unsigned)major << 5);
    if (value < 24) {
        put_byte(w, (uint8_t)(type | value));
        return;
    }
    unsigned width = value <= 0xFF ? 0 : value <= 0xFFFF ? 1 : value <= 0xFFFFFFFF ? 2 : 3;
    put_byte(w, (uint8_t)(type | (24u + width)));
    for (unsigned left = 1u << width; left > 0; left--) {
        put_byte(w, (uint8_t)(value >> (8u * (left - 1u))));
    }
}

void fw_write_map(fw_writer *w)
{
    put_byte(w, 0xBF);
}

void fw_write_array(fw_writer *w)
{
    put_byte(w, 0x9F);
}

void fw_write_end(fw_writer *w)
{
    put_byte(w, 0xFF);
}

void fw_write_text_bytes(fw_writer *w, const uint8_t *text, size_t size)
{
    put_head(w, FW_CBOR_TEXT, size);
    put(w, text, size);
}

void fw_write_text(fw_writer *w, const char *text)
{
    fw_write_text_bytes(w, (const uint8_t *)text, strlen(text));
}

void fw_write_bytes(fw_writer *w, const uint8_t *bytes, size_t size)
{
    put_head(w, FW_CBOR_BYTES, size);
    put(w, bytes, size);
}

void fw_write_uint(fw_writer *w, uint64_t value)
{
    put_head(w, FW_CBOR_UINT, value);
}

void fw_write_bool(fw_writer *w, bool value)
{
    put_byte(w, value ? 0xF5 : 0xF4);
}

void fw_put_uint(fw_writer *w, const char *key, uint64_t value)
{
    fw_write_text(w, key);
    fw_write_uint(w, value);
}

void fw_put_bool(fw_writer *w, const char *key, bool value)
{
    fw_write_text(w, key);
    fw_write_bool(w, value);
}

void fw_put_text(fw_writer *w, const char *key, const char *text)
{
    fw_write_text(w, key);
    fw_write_text(w, text);
}

void fw_put_bytes(fw_writer *w, const char *key, const uint8_t *bytes, size_t size)
{
    fw_write_text(w, key);
    fw_write_bytes(w, bytes, size);
}
