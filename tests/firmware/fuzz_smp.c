/* libFuzzer's door to the firmware: the input is a list of steps, each `kind, size, bytes`.
 *
 * kind % 4: 0 raw bytes on the wire; 1 a packet (its length field is set right, so that mutations
 * reach the body) in a sound frame; 2 a reset; 3 raw bytes into bank 1, as a worn flash might.
 * Whatever comes, nothing is read or written out of bounds, and nothing runs that is not signed:
 * no key signs here, so nothing ever runs. */

#include <stdlib.h>
#include <string.h>

#include "firmware.h"
#include "trust.h"

#define FLASH_SIZE (FW_BANKS_OFFSET + 4u * FW_SECTOR_SIZE)
#define ARENA_SIZE 4096u

static uint8_t memory[FLASH_SIZE] __attribute__((aligned(16)));
static uint8_t arena[ARENA_SIZE] __attribute__((aligned(16)));
static fw_firmware firmware;

static int write_flash(void *context, uint32_t offset, const uint8_t *data, uint32_t size)
{
    (void)context;
    if (offset % FW_WRITE_UNIT || size % FW_WRITE_UNIT || offset + size > FLASH_SIZE ||
        offset % FW_SECTOR_SIZE + size > FW_SECTOR_SIZE) {
        abort();
    }
    for (uint32_t i = 0; i < size; i++) {
        if (memory[offset + i] != FW_ERASED) {
            return -1;
        }
    }
    memcpy(memory + offset, data, size);
    return 0;
}

static int erase_flash(void *context, uint32_t offset)
{
    (void)context;
    if (offset % FW_SECTOR_SIZE || offset >= FLASH_SIZE) {
        abort();
    }
    memset(memory + offset, FW_ERASED, FW_SECTOR_SIZE);
    return 0;
}

static uint64_t now_ns(void *context)
{
    static uint64_t now;
    (void)context;
    return now += 1000;
}

/* Every answer is a sound frame's line. */
static void transmit(void *context, const uint8_t *bytes, size_t size)
{
    (void)context;
    if (size < 4 || size > FW_LINE_MAX || bytes[size - 1] != '\n') {
        abort();
    }
}

static void feed(void *context, const uint8_t *bytes, size_t size)
{
    (void)context;
    for (size_t i = 0; i < size; i++) {
        fw_receive(&firmware, bytes[i]);
    }
}

static const fw_flash flash = {memory, FLASH_SIZE, NULL, write_flash, erase_flash};
static const fw_board board = {&flash, arena, ARENA_SIZE, NULL, now_ns, NULL, transmit};

static void boot(void)
{
    if (fw_start(&firmware, &board) != FW_OK || firmware.model.is_loaded) {
        abort();
    }
}

static void step(unsigned kind, const uint8_t *bytes, size_t size)
{
    uint8_t packet[8 + 2048];
    if (kind == 0) {
        feed(NULL, bytes, size);
    } else if (kind == 1 && size >= 8) {
        memcpy(packet, bytes, size);
        packet[2] = (uint8_t)((size - 8) >> 8);
        packet[3] = (uint8_t)(size - 8);
        fw_frame_send(packet, size, feed, NULL);
    } else if (kind == 2 || firmware.wants_reset) {
        boot();
    } else if (kind == 3) {
        memcpy(memory + fw_bank_offset(&flash, 1), bytes, size);
    }
    if (firmware.model.is_loaded) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fw_trust trust = {1, 1, {{1}}};
    memset(memory, FW_ERASED, sizeof memory);
    if (fw_trust_write(&flash, &trust) != FW_OK) {
        abort();
    }
    boot();
    while (size >= 3) {
        size_t room = size - 3;
        size_t wanted = (size_t)(data[1] | (data[2] & 7) << 8);
        size_t piece = wanted < room ? wanted : room;
        step(data[0] % 4u, data + 3, piece);
        data += 3 + piece;
        size -= 3 + piece;
    }
    return 0;
}
