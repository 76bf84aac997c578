#define _DEFAULT_SOURCE
#define _XOPEN_SOURCE 700

#include "options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flash.h"

#define SLOT_SIZE_DEFAULT (512u << 10)
#define SLOT_SIZE_MAX (16u << 20)
#define ARENA_SIZE_DEFAULT (512u << 10)
#define ARENA_SIZE_MAX (64u << 20)

static const char USAGE[] =
    "usage: wherry-firmware-sim --flash FILE [options]\n"
    "A microcontroller that runs signed models and speaks SMP on a pty, whose path is its first\n"
    "line of output.\n"
    "  --flash FILE       its flash; a blank one is made where there is none\n"
    "  --keys FILE        trusted Ed25519 public keys, 64 hexadecimal digits a line: written to a\n"
    "                     flash that has none; without keys nothing ever runs\n"
    "  --threshold K      how many different keys must sign an image (1)\n"
    "  --slot-size BYTES  of each slot of a new flash, a multiple of 4096 (524288)\n"
    "  --arena-size BYTES memory for the running program (524288)\n"
    "  --cut-after N      cut the power (exit 75) with the N-th flash operation\n"
    "  --tear             that operation is done by half only\n"
    "  --boot-table       print what every boot situation leads to, and exit\n";

static void refuse(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("wherry-firmware-sim: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(FW_EXIT_USAGE);
}

static uint64_t number(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || !isdigit((unsigned char)text[0]) || *end != '\0' || value < min ||
        value > max) {
        refuse("--%s is '%s', must be a number from %llu to %llu", name, text,
               (unsigned long long)min, (unsigned long long)max);
    }
    return value;
}

enum { FLASH, KEYS, THRESHOLD, SLOT_SIZE, ARENA_SIZE, CUT_AFTER, TEAR, BOOT_TABLE, HELP };

static const struct option OPTIONS[] = {
    {"flash", required_argument, NULL, FLASH},
    {"keys", required_argument, NULL, KEYS},
    {"threshold", required_argument, NULL, THRESHOLD},
    {"slot-size", required_argument, NULL, SLOT_SIZE},
    {"arena-size", required_argument, NULL, ARENA_SIZE},
    {"cut-after", required_argument, NULL, CUT_AFTER},
    {"tear", no_argument, NULL, TEAR},
    {"boot-table", no_argument, NULL, BOOT_TABLE},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static void take(fw_options *options, int option, const char *text)
{
    switch (option) {
    case FLASH:
        options->flash_path = text;
        break;
    case KEYS:
        options->keys_path = text;
        break;
    case THRESHOLD:
        options->threshold = (uint32_t)number("threshold", text, 1, FW_SIGNERS_MAX);
        break;
    case SLOT_SIZE:
        options->slot_size = (uint32_t)number("slot-size", text, FW_SECTOR_SIZE, SLOT_SIZE_MAX);
        break;
    case ARENA_SIZE:
        options->arena_size = (uint32_t)number("arena-size", text, 16, ARENA_SIZE_MAX);
        break;
    case CUT_AFTER:
        options->cut_after = number("cut-after", text, 1, UINT64_MAX);
        break;
    case TEAR:
        options->is_torn = true;
        break;
    case BOOT_TABLE:
        options->prints_boot_table = true;
        break;
    case HELP:
        fputs(USAGE, stdout);
        exit(0);
    default:
        fputs(USAGE, stderr);
        exit(FW_EXIT_USAGE);
    }
}

fw_options fw_options_read(int argc, char **argv)
{
    fw_options options = {0};
    int option;
    options.threshold = 1;
    options.slot_size = SLOT_SIZE_DEFAULT;
    options.arena_size = ARENA_SIZE_DEFAULT;
    while ((option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
        take(&options, option, optarg);
    }
    if (optind < argc) {
        refuse("'%s' is no option; --help lists them", argv[optind]);
    }
    if (!options.flash_path && !options.prints_boot_table) {
        refuse("--flash FILE is missing; --help lists the options");
    }
    if (options.slot_size % FW_SECTOR_SIZE != 0) {
        refuse("--slot-size is %u, must be a multiple of %u", options.slot_size, FW_SECTOR_SIZE);
    }
    return options;
}

static int nibble(char digit)
{
    static const char DIGITS[] = "0123456789abcdef";
    const char *at = digit ? strchr(DIGITS, tolower((unsigned char)digit)) : NULL;
    return at ? (int)(at - DIGITS) : -1;
}

static bool read_key(const char *line, uint8_t key[FW_KEY_SIZE])
{
    for (size_t i = 0; i < FW_KEY_SIZE; i++) {
        int high = nibble(line[2 * i]);
        int low = high < 0 ? -1 : nibble(line[2 * i + 1]);
        if (low < 0) {
            return false;
        }
        key[i] = (uint8_t)(high * 16 + low);
    }
    return line[2 * FW_KEY_SIZE] == '\0';
}

static void add_key(fw_trust *trust, const char *path, unsigned line_number, const char *line)
{
    if (trust->key_count == FW_SIGNERS_MAX) {
        refuse("keys file %s, line %u: at most %u keys are allowed", path, line_number,
               FW_SIGNERS_MAX);
    }
    uint8_t *key = trust->keys[trust->key_count];
    if (!read_key(line, key)) {
        refuse("keys file %s, line %u: must be 64 hexadecimal digits", path, line_number);
    }
    for (uint32_t i = 0; i < trust->key_count; i++) {
        if (memcmp(trust->keys[i], key, FW_KEY_SIZE) == 0) {
            refuse("keys file %s, line %u: this key is there already", path, line_number);
        }
    }
    trust->key_count++;
}

fw_trust fw_options_read_keys(const fw_options *options)
{
    fw_trust trust;
    char line[256];
    const char *path = options->keys_path;
    FILE *file = fopen(path, "r");
    memset(&trust, 0, sizeof trust);
    if (!file) {
        refuse("keys file %s: %s", path, strerror(errno));
    }
    for (unsigned number_of_line = 1; fgets(line, sizeof line, file); number_of_line++) {
        line[strcspn(line, "# \t\r\n")] = '\0';
        if (line[0] != '\0') {
            add_key(&trust, path, number_of_line, line);
        }
    }
    fclose(file);
    trust.threshold = options->threshold;
    if (trust.threshold > trust.key_count) {
        refuse("--threshold is %u, but %s holds %u keys", trust.threshold, path, trust.key_count);
    }
    return trust;
}
