/* Checksums against accidents: CRC16-XMODEM of serial frames, CRC32 (IEEE) of flash records. */

#ifndef WHERRY_FW_CRC_H
#define WHERRY_FW_CRC_H

#include <stddef.h>
#include <stdint.h>

uint16_t fw_crc16(const uint8_t *data, size_t size);
uint32_t fw_crc32(const uint8_t *data, size_t size);

#endif
