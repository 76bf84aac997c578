/* Group 0: is anybody there, start again, how large may a packet be. */

#include "firmware.h"

int fw_os_echo(fw_firmware *fw, const fw_map *request, fw_writer *answer)
{
    const uint8_t *text;
    size_t size;
    (void)fw;
    if (fw_map_text(request, "d", &text, &size) != 1) {
        return FW_ERR_INVALID;
    }
    fw_write_text(answer, "r");
    fw_write_text_bytes(answer, text, size);
    return FW_OK;
}

int fw_os_reset(fw_firmware *fw, const fw_map *request, fw_writer *answer)
{
    (void)request;
    (void)answer;
    fw->wants_reset = true;
    return FW_OK;
}

int fw_os_parameters(fw_firmware *fw, const fw_map *request, fw_writer *answer)
{
    (void)fw;
    (void)request;
    fw_put_uint(answer, "buf_size", FW_PACKET_MAX);
    fw_put_uint(answer, "buf_count", 1);
    return FW_OK;
}
