/* The piece of CBOR (RFC 8949) that SMP needs: maps with text keys in, maps out. Bounded by the
 * packet: nothing is copied or allocated. */

#ifndef WHERRY_FW_CBOR_H
#define WHERRY_FW_CBOR_H

#include "status.h"

#define FW_CBOR_DEPTH_MAX 8u

typedef enum {
    FW_CBOR_UINT = 0,
    FW_CBOR_NEGATIVE = 1,
    FW_CBOR_BYTES = 2,
    FW_CBOR_TEXT = 3,
    FW_CBOR_ARRAY = 4,
    FW_CBOR_MAP = 5,
    FW_CBOR_TAG = 6,
    FW_CBOR_SIMPLE = 7
} fw_cbor_major;

/* --- reading ---------------------------------------------------------------------------------- */

/* A request's body: exactly one well-formed map with text keys. */
typedef struct {
    const uint8_t *data;   /* behind the map's head */
    const uint8_t *end;
} fw_map;

/* FW_OK or FW_ERR_INVALID. */
FW_MUST_CHECK int fw_map_open(fw_map *map, const uint8_t *data, size_t size);

/* 1: found, and the result is set. 0: no such key, the result is as before. FW_ERR_INVALID: the
 * value has another type, or a number is beyond `max`. Of two equal keys the first counts. */
FW_MUST_CHECK int fw_map_uint(const fw_map *map, const char *key, uint32_t max, uint32_t *value);
FW_MUST_CHECK int fw_map_bool(const fw_map *map, const char *key, bool *value);
FW_MUST_CHECK int fw_map_bytes(const fw_map *map, const char *key, const uint8_t **bytes,
                               size_t *size);
FW_MUST_CHECK int fw_map_text(const fw_map *map, const char *key, const uint8_t **text,
                              size_t *size);

/* --- writing ---------------------------------------------------------------------------------- */

typedef struct {
    uint8_t *data;
    size_t size;         /* written so far */
    size_t capacity;
    bool is_overflown;   /* once set, nothing more is written */
} fw_writer;

void fw_write_map(fw_writer *w);      /* of indefinite length: ends with fw_write_end */
void fw_write_array(fw_writer *w);    /* likewise */
void fw_write_end(fw_writer *w);
void fw_write_text(fw_writer *w, const char *text);
void fw_write_text_bytes(fw_writer *w, const uint8_t *text, size_t size);
void fw_write_bytes(fw_writer *w, const uint8_t *bytes, size_t size);
void fw_write_uint(fw_writer *w, uint64_t value);
void fw_write_bool(fw_writer *w, bool value);

/* A key and its value. */
void fw_put_uint(fw_writer *w, const char *key, uint64_t value);
void fw_put_bool(fw_writer *w, const char *key, bool value);
void fw_put_text(fw_writer *w, const char *key, const char *text);
void fw_put_bytes(fw_writer *w, const char *key, const uint8_t *bytes, size_t size);

#endif
