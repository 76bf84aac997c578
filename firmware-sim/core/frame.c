#include "frame.h"

#include <string.h>

#include "crc.h"

#define MARKER_SIZE 2u
#define LINE_OVERFLOW SIZE_MAX   /* as line_size: the line is too long, wait for its end */
#define GROUPS_PER_LINE 31u      /* of three bytes, four characters: 2 + 124 + 1 = 127 */

static const uint8_t START[MARKER_SIZE] = {6, 9};
static const uint8_t CONTINUATION[MARKER_SIZE] = {4, 20};
static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void fw_frame_reset(fw_frame_decoder *decoder)
{
    memset(decoder, 0, sizeof *decoder);
}

static void drop(fw_frame_decoder *decoder)
{
    decoder->dropped_count += decoder->is_open ? 1u : 0u;
    decoder->is_open = false;
    decoder->frame_size = 0;
}

static int sextet(uint8_t character)
{
    for (int i = 0; i < 64; i++) {
        if ((uint8_t)ALPHABET[i] == character) {
            return i;
        }
    }
    return -1;
}

/* Four characters to one to three bytes; 0 where they are no base64. */
static size_t decode_group(const uint8_t text[4], uint8_t bytes[3])
{
    size_t count = text[3] != '=' ? 3u : text[2] != '=' ? 2u : 1u;
    uint32_t word = 0;
    for (size_t i = 0; i < 4; i++) {
        int value = i <= count ? sextet(text[i]) : 0;
        if (value < 0) {
            return 0;
        }
        word = (word << 6) | (uint32_t)value;
    }
    for (size_t i = 0; i < 3; i++) {
        bytes[i] = (uint8_t)(word >> (16u - 8u * i));
    }
    return count;
}

/* Appends what the text says. Padding may stand at the end of a line only. */
static bool append(fw_frame_decoder *decoder, const uint8_t *text, size_t size)
{
    if (size % 4 != 0 || decoder->frame_size + size / 4 * 3 > sizeof decoder->frame) {
        return false;
    }
    for (size_t i = 0; i < size; i += 4) {
        uint8_t *to = decoder->frame + decoder->frame_size;
        size_t count = decode_group(text + i, to);
        if (count == 0 || (count < 3 && i + 4 < size)) {
            return false;
        }
        decoder->frame_size += count;
    }
    return true;
}

static uint16_t big_endian_16(const uint8_t *at)
{
    return (uint16_t)((at[0] << 8) | at[1]);
}

/* True when the frame is whole and sound; drops it when it can no longer become that. */
static bool is_complete(fw_frame_decoder *decoder)
{
    if (decoder->frame_size < 2) {
        return false;
    }
    size_t length = big_endian_16(decoder->frame);
    if (length <= 2 || length > FW_PACKET_MAX + 2u || decoder->frame_size > 2u + length) {
        drop(decoder);
        return false;
    }
    if (decoder->frame_size < 2u + length) {
        return false;
    }
    if (fw_crc16(decoder->frame + 2, length - 2) != big_endian_16(decoder->frame + length)) {
        drop(decoder);
        return false;
    }
    return true;
}

static bool end_line(fw_frame_decoder *decoder)
{
    size_t size = decoder->line_size;
    const uint8_t *line = decoder->line;
    bool is_too_long = size == LINE_OVERFLOW;
    if (!is_too_long && size > 0 && line[size - 1] == '\r') {
        size--;
    }
    if (size < MARKER_SIZE) {
        return false;
    }
    if (memcmp(line, START, MARKER_SIZE) == 0) {
        drop(decoder);
        decoder->is_open = true;
    } else if (memcmp(line, CONTINUATION, MARKER_SIZE) != 0 || !decoder->is_open) {
        return false;
    }
    if (is_too_long || !append(decoder, line + MARKER_SIZE, size - MARKER_SIZE)) {
        drop(decoder);
        return false;
    }
    return is_complete(decoder);
}

bool fw_frame_feed(fw_frame_decoder *decoder, uint8_t byte, const uint8_t **packet, size_t *size)
{
    if (byte != '\n') {
        if (decoder->line_size < sizeof decoder->line) {
            decoder->line[decoder->line_size++] = byte;
        } else {
            decoder->line_size = LINE_OVERFLOW;
        }
        return false;
    }
    bool is_whole = end_line(decoder);
    decoder->line_size = 0;
    if (is_whole) {
        *packet = decoder->frame + 2;
        *size = decoder->frame_size - 4u;
        decoder->is_open = false;
        decoder->frame_size = 0;
    }
    return is_whole;
}

/* Byte `index` of length | packet | CRC. */
static uint8_t frame_byte(const uint8_t *packet, size_t size, uint16_t crc, size_t index)
{
    size_t length = size + 2u;
    if (index < 2) {
        return (uint8_t)(index == 0 ? length >> 8 : length);
    }
    if (index < 2u + size) {
        return packet[index - 2];
    }
    return (uint8_t)(index == 2u + size ? crc >> 8 : crc);
}

static void encode_group(const uint8_t bytes[3], size_t count, uint8_t text[4])
{
    uint32_t word = ((uint32_t)bytes[0] << 16) | ((uint32_t)bytes[1] << 8) | bytes[2];
    for (size_t i = 0; i < 4; i++) {
        text[i] = i <= count ? (uint8_t)ALPHABET[(word >> (18u - 6u * i)) & 63u] : (uint8_t)'=';
    }
}

void fw_frame_send(const uint8_t *packet, size_t size,
                   void (*transmit)(void *context, const uint8_t *line, size_t size),
                   void *context)
{
    uint16_t crc = fw_crc16(packet, size);
    size_t total = 2u + size + 2u;
    for (size_t at = 0; at < total;) {
        uint8_t line[FW_LINE_MAX];
        size_t line_size = MARKER_SIZE;
        memcpy(line, at == 0 ? START : CONTINUATION, MARKER_SIZE);
        for (size_t group = 0; group < GROUPS_PER_LINE && at < total; group++) {
            uint8_t bytes[3] = {0, 0, 0};
            size_t count = total - at < 3 ? total - at : 3;
            for (size_t i = 0; i < count; i++) {
                bytes[i] = frame_byte(packet, size, crc, at + i);
            }
            encode_group(bytes, count, line + line_size);
            line_size += 4;
            at += count;
        }
        line[line_size++] = '\n';
        transmit(context, line, line_size);
    }
}
