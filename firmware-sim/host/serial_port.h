/* A serial port on the host: the controlling side of a pty. */

#ifndef WHERRY_FW_SERIAL_PORT_H
#define WHERRY_FW_SERIAL_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int descriptor;
    int peer;          /* kept open, so that the port outlives its clients */
    char path[128];    /* what clients open */
} fw_serial_port;

/* On a failure prints one sentence and returns false. */
bool fw_serial_port_open(fw_serial_port *port);

/* Waits for bytes: their count, or -1 when the port is gone. */
long fw_serial_port_read(fw_serial_port *port, uint8_t *bytes, size_t capacity);

/* Sends what a client takes within a second; a wire has no memory, so the rest is lost. */
void fw_serial_port_write(fw_serial_port *port, const uint8_t *bytes, size_t size);

#endif
