/* Serial frames of SMP: 06 09 / 04 14, base64, lines of at most 127 bytes, CRC16-XMODEM.
 * Whatever is not a frame is skipped; a damaged frame is dropped and counted. */

#ifndef WHERRY_FW_FRAME_H
#define WHERRY_FW_FRAME_H

#include "status.h"

#define FW_LINE_MAX 127u      /* bytes, with marker and line end */
#define FW_PACKET_MAX 4096u   /* bytes of an SMP packet, header included */

typedef struct {
    uint8_t line[FW_LINE_MAX + 1u];     /* one more for a carriage return */
    size_t line_size;
    uint8_t frame[2u + FW_PACKET_MAX + 2u + 96u];  /* length, packet, CRC; room for one line more */
    size_t frame_size;
    bool is_open;                       /* a start line has come */
    uint32_t dropped_count;
} fw_frame_decoder;

void fw_frame_reset(fw_frame_decoder *decoder);

/* True when this byte completes a packet; it stays valid until the next call. */
bool fw_frame_feed(fw_frame_decoder *decoder, uint8_t byte, const uint8_t **packet, size_t *size);

/* Hands out the lines of a packet one by one. `size` is at most FW_PACKET_MAX. */
void fw_frame_send(const uint8_t *packet, size_t size,
                   void (*transmit)(void *context, const uint8_t *line, size_t size),
                   void *context);

#endif
