/* A board in memory whose power goes at one step of its flash, in the process of whoever asks.
 *
 * A step is one write unit of 16 bytes, or a half of an erased sector. Power goes with step
 * `cut_at`, in one of three ways; the call that was under way ends with BOARD_CUT, and what the
 * flash holds then is what the next boot finds. */

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "firmware.h"
#include "trust.h"

#define BOARD_OK 0
#define BOARD_CUT 1
#define BOARD_BROKEN 2
#define ARENA_SIZE 4096u
#define OUTPUT_MAX 65536u
#define ERASE_STEP (FW_SECTOR_SIZE / 2u)

enum { AFTER, TORN, SMEARED };  /* the step is done; half of it is; its bits are as chance wills */

typedef struct board board;
struct board {
    uint8_t *flash_bytes;
    uint8_t *arena;
    fw_flash flash;
    fw_board parts;
    fw_firmware firmware;
    jmp_buf power;
    uint64_t step_count;
    uint64_t cut_at;       /* 0: never */
    uint32_t way;
    uint32_t noise;
    uint64_t now_ns;
    size_t output_size;
    uint8_t output[OUTPUT_MAX];
};

board *board_new(const uint8_t *flash, uint32_t size);
void board_free(board *b);
const uint8_t *board_flash(const board *b);
uint64_t board_steps(const board *b);
void board_arm(board *b, uint64_t cut_at, uint32_t way);
int board_provision(board *b, const uint8_t *keys, uint32_t count, uint32_t threshold);
int board_boot(board *b);
int board_receive(board *b, const uint8_t *bytes, size_t size);
size_t board_take(board *b, uint8_t *into);

static uint8_t next_noise(board *b)
{
    b->noise = b->noise * 1664525u + 1013904223u;
    return (uint8_t)(b->noise >> 24);
}

/* Bits that were to become 0, and did only in part. */
static void smear(board *b, uint8_t *at, const uint8_t *data, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        at[i] = (uint8_t)(data[i] | next_noise(b));
    }
}

/* Does power go with this step? */
static bool is_cut(board *b)
{
    b->step_count++;
    return b->step_count == b->cut_at;
}

static void write_unit(board *b, uint8_t *at, const uint8_t *data)
{
    if (!is_cut(b)) {
        memcpy(at, data, FW_WRITE_UNIT);
        return;
    }
    if (b->way == SMEARED) {
        smear(b, at, data, FW_WRITE_UNIT);
    } else {
        memcpy(at, data, b->way == TORN ? FW_WRITE_UNIT / 2u : FW_WRITE_UNIT);
    }
    longjmp(b->power, 1);
}

static int write_flash(void *context, uint32_t offset, const uint8_t *data, uint32_t size)
{
    board *b = context;
    bool is_inside = offset < b->flash.size && size <= FW_SECTOR_SIZE - offset % FW_SECTOR_SIZE;
    if (size == 0 || !is_inside || offset % FW_WRITE_UNIT != 0 || size % FW_WRITE_UNIT != 0 ||
        !fw_flash_is_blank(&b->flash, offset, size)) {
        return -1;
    }
    for (uint32_t i = 0; i < size; i += FW_WRITE_UNIT) {
        write_unit(b, b->flash_bytes + offset + i, data + i);
    }
    return 0;
}

static void erase_half(board *b, uint8_t *at)
{
    if (!is_cut(b)) {
        memset(at, FW_ERASED, ERASE_STEP);
        return;
    }
    if (b->way == SMEARED) {
        smear(b, at, at, ERASE_STEP);
    } else {
        memset(at, FW_ERASED, b->way == TORN ? ERASE_STEP / 2u : ERASE_STEP);
    }
    longjmp(b->power, 1);
}

static int erase_flash(void *context, uint32_t offset)
{
    board *b = context;
    if (offset >= b->flash.size || offset % FW_SECTOR_SIZE != 0) {
        return -1;
    }
    erase_half(b, b->flash_bytes + offset);
    erase_half(b, b->flash_bytes + offset + ERASE_STEP);
    return 0;
}

static uint64_t now_ns(void *context)
{
    board *b = context;
    return b->now_ns += 1000;
}

static void transmit(void *context, const uint8_t *bytes, size_t size)
{
    board *b = context;
    if (size > OUTPUT_MAX - b->output_size) {
        abort();
    }
    memcpy(b->output + b->output_size, bytes, size);
    b->output_size += size;
}

board *board_new(const uint8_t *flash, uint32_t size)
{
    board *b = calloc(1, sizeof *b);
    void *memory = aligned_alloc(16, size);
    void *arena = aligned_alloc(16, ARENA_SIZE);
    if (!b || !memory || !arena) {
        abort();
    }
    memcpy(memory, flash, size);
    b->flash_bytes = memory;
    b->arena = arena;
    b->flash = (fw_flash){memory, size, b, write_flash, erase_flash};
    b->parts = (fw_board){&b->flash, arena, ARENA_SIZE, b, now_ns, NULL, transmit};
    return b;
}

void board_free(board *b)
{
    free(b->flash_bytes);
    free(b->arena);
    free(b);
}

const uint8_t *board_flash(const board *b)
{
    return b->flash_bytes;
}

uint64_t board_steps(const board *b)
{
    return b->step_count;
}

/* Counts from 0 again. */
void board_arm(board *b, uint64_t cut_at, uint32_t way)
{
    b->step_count = 0;
    b->cut_at = cut_at;
    b->way = way;
    b->noise = (uint32_t)cut_at * 2654435761u + way;
}

/* Keys go into a flash that has none. */
int board_provision(board *b, const uint8_t *keys, uint32_t count, uint32_t threshold)
{
    fw_trust trust;
    if (setjmp(b->power) != 0) {
        return BOARD_CUT;
    }
    if (fw_trust_read(&b->flash, &trust)) {
        return BOARD_OK;
    }
    memset(&trust, 0, sizeof trust);
    memcpy(trust.keys, keys, count * FW_KEY_SIZE);
    trust.key_count = count;
    trust.threshold = threshold;
    return fw_trust_write(&b->flash, &trust) == FW_OK ? BOARD_OK : BOARD_BROKEN;
}

int board_boot(board *b)
{
    if (setjmp(b->power) != 0) {
        return BOARD_CUT;
    }
    b->output_size = 0;
    return fw_start(&b->firmware, &b->parts) == FW_OK ? BOARD_OK : BOARD_BROKEN;
}

/* Bytes on the wire; a reset that was asked for follows at once. */
int board_receive(board *b, const uint8_t *bytes, size_t size)
{
    if (setjmp(b->power) != 0) {
        return BOARD_CUT;
    }
    for (size_t i = 0; i < size; i++) {
        fw_receive(&b->firmware, bytes[i]);
    }
    if (b->firmware.wants_reset) {
        return fw_start(&b->firmware, &b->parts) == FW_OK ? BOARD_OK : BOARD_BROKEN;
    }
    return BOARD_OK;
}

/* What was transmitted since the last call. */
size_t board_take(board *b, uint8_t *into)
{
    size_t size = b->output_size;
    memcpy(into, b->output, size);
    b->output_size = 0;
    return size;
}
