#define _DEFAULT_SOURCE
#define _XOPEN_SOURCE 700

#include "serial_port.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define PATIENCE_MS 1000

static bool complain(const char *what)
{
    fprintf(stderr, "wherry-firmware-sim: pty: %s: %s\n", what, strerror(errno));
    return false;
}

/* Bytes pass unchanged and nothing is echoed, whatever the client sets later. */
static bool make_raw(int descriptor)
{
    struct termios settings;
    if (tcgetattr(descriptor, &settings) != 0) {
        return false;
    }
    cfmakeraw(&settings);
    return tcsetattr(descriptor, TCSANOW, &settings) == 0;
}

bool fw_serial_port_open(fw_serial_port *port)
{
    port->descriptor = posix_openpt(O_RDWR | O_NOCTTY);
    if (port->descriptor < 0 || grantpt(port->descriptor) != 0 ||
        unlockpt(port->descriptor) != 0) {
        return complain("cannot open");
    }
    const char *path = ptsname(port->descriptor);
    if (!path || strlen(path) >= sizeof port->path) {
        return complain("has no name");
    }
    strcpy(port->path, path);
    port->peer = open(port->path, O_RDWR | O_NOCTTY);
    if (port->peer < 0 || !make_raw(port->peer) ||
        fcntl(port->descriptor, F_SETFL, O_NONBLOCK) != 0) {
        return complain("cannot set up");
    }
    return true;
}

static bool wait_for(fw_serial_port *port, short events, int timeout_ms)
{
    struct pollfd wanted = {port->descriptor, events, 0};
    return poll(&wanted, 1, timeout_ms) > 0;
}

long fw_serial_port_read(fw_serial_port *port, uint8_t *bytes, size_t capacity)
{
    for (;;) {
        ssize_t count = read(port->descriptor, bytes, capacity);
        if (count > 0) {
            return (long)count;
        }
        if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
            return -1;
        }
        (void)wait_for(port, POLLIN, -1);
    }
}

void fw_serial_port_write(fw_serial_port *port, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t count = write(port->descriptor, bytes, size);
        if (count > 0) {
            bytes += count;
            size -= (size_t)count;
        } else if (count == 0 || errno != EAGAIN || !wait_for(port, POLLOUT, PATIENCE_MS)) {
            return;
        }
    }
}
