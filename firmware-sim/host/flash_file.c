#define _DEFAULT_SOURCE
#define _XOPEN_SOURCE 700

#include "flash_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SIZE_MAX 4096
#define FLASH_SIZE_MAX (64u << 20)

static bool complain(const char *path, const char *what)
{
    fprintf(stderr, "wherry-firmware-sim: flash file %s: %s: %s\n", path, what, strerror(errno));
    return false;
}

/* Is this the operation at which power goes? Counts it. */
static bool is_last(fw_flash_file *file)
{
    return ++file->operation_count == file->cut_after;
}

static void cut_power(void)
{
    _exit(FW_EXIT_POWER_CUT);
}

static int write_flash(void *context, uint32_t offset, const uint8_t *data, uint32_t size)
{
    fw_flash_file *file = context;
    bool is_inside = offset < file->size && size <= FW_SECTOR_SIZE - offset % FW_SECTOR_SIZE;
    if (size == 0 || !is_inside || offset % FW_WRITE_UNIT != 0 || size % FW_WRITE_UNIT != 0) {
        return -1;
    }
    for (uint32_t i = 0; i < size; i++) {
        if (file->bytes[offset + i] != FW_ERASED) {
            return -1;
        }
    }
    bool cuts = is_last(file);
    memcpy(file->bytes + offset, data, cuts && file->is_torn ? size / 2 : size);
    if (cuts) {
        cut_power();
    }
    return 0;
}

static int erase_flash(void *context, uint32_t offset)
{
    fw_flash_file *file = context;
    if (offset >= file->size || offset % FW_SECTOR_SIZE != 0) {
        return -1;
    }
    bool cuts = is_last(file);
    memset(file->bytes + offset, FW_ERASED, cuts && file->is_torn ? FW_SECTOR_SIZE / 2
                                                                  : FW_SECTOR_SIZE);
    if (cuts) {
        cut_power();
    }
    return 0;
}

static bool write_blank(int descriptor, uint32_t size)
{
    uint8_t sector[FW_SECTOR_SIZE];
    memset(sector, FW_ERASED, sizeof sector);
    for (uint32_t at = 0; at < size; at += FW_SECTOR_SIZE) {
        if (write(descriptor, sector, sizeof sector) != (ssize_t)sizeof sector) {
            return false;
        }
    }
    return fsync(descriptor) == 0;
}

/* A blank flash appears whole or not at all. */
static bool create(const char *path, uint32_t size)
{
    char temporary[PATH_SIZE_MAX];
    int length = snprintf(temporary, sizeof temporary, "%s.new", path);
    if (length < 0 || (size_t)length >= sizeof temporary) {
        errno = ENAMETOOLONG;
        return complain(path, "cannot create");
    }
    int descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (descriptor < 0) {
        return complain(path, "cannot create");
    }
    bool is_blank = write_blank(descriptor, size);
    if (close(descriptor) != 0 || !is_blank || rename(temporary, path) != 0) {
        return complain(path, "cannot create");
    }
    return true;
}

static bool has_geometry(const char *path, off_t size)
{
    if (size > FW_BANKS_OFFSET && size <= FLASH_SIZE_MAX &&
        (size - FW_BANKS_OFFSET) % (2 * FW_SECTOR_SIZE) == 0) {
        return true;
    }
    fprintf(stderr,
            "wherry-firmware-sim: flash file %s: %lld bytes are no flash: it must be %u bytes and"
            " two slots of a multiple of %u; remove it or name another\n",
            path, (long long)size, FW_BANKS_OFFSET, FW_SECTOR_SIZE);
    return false;
}

bool fw_flash_file_open(fw_flash_file *file, const char *path, uint32_t slot_size)
{
    struct stat info;
    bool is_absent = stat(path, &info) != 0 && errno == ENOENT;
    if (is_absent && !create(path, FW_BANKS_OFFSET + 2u * slot_size)) {
        return false;
    }
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0 || fstat(descriptor, &info) != 0) {
        return complain(path, "cannot open");
    }
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        return complain(path, "another process uses it");
    }
    if (!has_geometry(path, info.st_size)) {
        return false;
    }
    file->size = (uint32_t)info.st_size;
    void *bytes = mmap(NULL, file->size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (bytes == MAP_FAILED) {
        return complain(path, "cannot map");
    }
    file->bytes = bytes;
    return true;
}

fw_flash fw_flash_file_view(fw_flash_file *file)
{
    fw_flash flash = {file->bytes, file->size, file, write_flash, erase_flash};
    return flash;
}
