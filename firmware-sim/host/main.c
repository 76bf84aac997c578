/* A microcontroller on the host: flash in a file, UART on a pty, the host's clock. */

#define _DEFAULT_SOURCE
#define _XOPEN_SOURCE 700

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "firmware.h"
#include "flash_file.h"
#include "options.h"
#include "serial_port.h"
#include "trust.h"

#define EXIT_BROKEN 1

static fw_firmware firmware;

static uint64_t now_ns(void *context)
{
    struct timespec now;
    (void)context;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Reference cycles: they run on while another process has the core. */
#if defined(__x86_64__)
static uint64_t cycles(void *context)
{
    (void)context;
    return __builtin_ia32_rdtsc();
}
#define CYCLES cycles
#else
#define CYCLES NULL
#endif

static void transmit(void *context, const uint8_t *bytes, size_t size)
{
    fw_serial_port_write(context, bytes, size);
}

static int print_boot_table(void)
{
    static const char *const PHASES[FW_PHASE_COUNT] = {"settled", "test", "permanent", "trial"};
    puts("phase,active_verified,other_verified,other_good,action,next_phase,changes_bank,"
         "active_good_after,other_good_after,runs");
    for (unsigned i = 0; i < FW_PHASE_COUNT * 8u; i++) {
        fw_boot_facts facts = {(fw_phase)(i / 8u), i >> 2 & 1u, i >> 1 & 1u, i & 1u};
        fw_state before = {1, 0, (uint8_t)facts.phase, (uint8_t)(1u | (i & 1u) << 1)};
        fw_boot_action action = fw_boot_decide(facts);
        fw_state after = fw_boot_apply(before, action);
        printf("%s,%d,%d,%d,%s,%s,%d,%d,%d,%d\n", PHASES[facts.phase], facts.is_active_verified,
               facts.is_other_verified, facts.is_other_good, fw_boot_name(action),
               PHASES[after.phase], after.active != before.active, after.good >> after.active & 1,
               after.good >> (1 - after.active) & 1, fw_boot_runs(action));
    }
    return 0;
}

/* Keys go into a flash that has none; another set than the one it has is refused. */
static bool provision(const fw_flash *flash, const fw_options *options)
{
    fw_trust present;
    bool has_trust = fw_trust_read(flash, &present);
    if (!options->keys_path) {
        if (!has_trust) {
            fputs("wherry-firmware-sim: this flash trusts no key, so no image will run: begin once"
                  " with --keys FILE\n", stderr);
        }
        return true;
    }
    fw_trust wanted = fw_options_read_keys(options);
    if (has_trust) {
        if (memcmp(&present, &wanted, sizeof wanted) == 0) {
            return true;
        }
        fprintf(stderr, "wherry-firmware-sim: flash file %s: trusts %u of %u keys already, and"
                " --keys names others; keys are written once: use another flash\n",
                options->flash_path, present.threshold, present.key_count);
        return false;
    }
    return fw_trust_write(flash, &wanted) == FW_OK;
}

static bool boot(const fw_board *board)
{
    int status = fw_start(&firmware, board);
    if (status != FW_OK) {
        fprintf(stderr, "wherry-firmware-sim: cannot boot: status %d\n", status);
    }
    return status == FW_OK;
}

static int serve(fw_serial_port *port, const fw_board *board)
{
    uint8_t bytes[1024];
    long count;
    while ((count = fw_serial_port_read(port, bytes, sizeof bytes)) >= 0) {
        for (long i = 0; i < count; i++) {
            fw_receive(&firmware, bytes[i]);
        }
        if (firmware.wants_reset && !boot(board)) {
            return EXIT_BROKEN;
        }
    }
    return EXIT_BROKEN;
}

int main(int argc, char **argv)
{
    static fw_flash_file file;
    static fw_serial_port port;
    void *arena;
    fw_options options = fw_options_read(argc, argv);
    if (options.prints_boot_table) {
        return print_boot_table();
    }
    if (!fw_flash_file_open(&file, options.flash_path, options.slot_size)) {
        return FW_EXIT_USAGE;
    }
    file.cut_after = options.cut_after;
    file.is_torn = options.is_torn;
    fw_flash flash = fw_flash_file_view(&file);
    if (!provision(&flash, &options)) {
        return FW_EXIT_USAGE;
    }
    if (!fw_serial_port_open(&port) || posix_memalign(&arena, 16, options.arena_size) != 0) {
        return EXIT_BROKEN;
    }
    fw_board board = {&flash, arena, options.arena_size, &port, now_ns, CYCLES, transmit};
    if (!boot(&board)) {
        return EXIT_BROKEN;
    }
    printf("%s\n", port.path);
    fflush(stdout);
    return serve(&port, &board);
}
