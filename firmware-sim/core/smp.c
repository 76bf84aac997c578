/* SMP: from a packet to a command and back to a packet. */

#include "firmware.h"

#include <string.h>

#define HEADER_SIZE 8u
#define VERSION_2 1u
#define ROOM_FOR_END 1u   /* of the answer's map */

typedef enum { READ = 0, WRITE = 2 } operation;

typedef struct {
    unsigned version;
    unsigned operation;
    uint16_t group;
    uint8_t sequence;
    uint8_t command;
} header;

typedef struct {
    uint16_t group;
    uint8_t command;
    uint8_t operation;
    int (*run)(fw_firmware *fw, const fw_map *request, fw_writer *answer);
} command;

static const command COMMANDS[] = {
    {0, 0, WRITE, fw_os_echo},
    {0, 5, WRITE, fw_os_reset},
    {0, 6, READ, fw_os_parameters},
    {1, 0, READ, fw_image_state_read},
    {1, 0, WRITE, fw_image_state_write},
    {1, 1, WRITE, fw_image_upload},
    {1, 5, WRITE, fw_image_erase},
    {FW_WHERRY_GROUP, 0, WRITE, fw_wherry_infer},
    {FW_WHERRY_GROUP, 1, READ, fw_wherry_statistics},
    {FW_WHERRY_GROUP, 2, READ, fw_wherry_histogram},
};

/* False for what nobody could answer: too short, a response, an unknown version. */
static bool read_header(const uint8_t *packet, size_t size, header *h)
{
    if (size < HEADER_SIZE) {
        return false;
    }
    h->version = packet[0] >> 3 & 3u;
    h->operation = packet[0] & 7u;
    h->group = (uint16_t)((packet[4] << 8) | packet[5]);
    h->sequence = packet[6];
    h->command = packet[7];
    size_t length = (size_t)((packet[2] << 8) | packet[3]);
    return h->version <= VERSION_2 && (h->operation == READ || h->operation == WRITE) &&
           length == size - HEADER_SIZE;
}

static void write_header(const header *h, uint8_t *packet, size_t body_size)
{
    packet[0] = (uint8_t)(h->version << 3 | (h->operation + 1u));
    packet[1] = 0;
    packet[2] = (uint8_t)(body_size >> 8);
    packet[3] = (uint8_t)body_size;
    packet[4] = (uint8_t)(h->group >> 8);
    packet[5] = (uint8_t)h->group;
    packet[6] = h->sequence;
    packet[7] = h->command;
}

static int run(fw_firmware *fw, const header *h, const uint8_t *body, size_t size,
               fw_writer *answer)
{
    for (size_t i = 0; i < sizeof COMMANDS / sizeof COMMANDS[0]; i++) {
        const command *c = &COMMANDS[i];
        if (c->group == h->group && c->command == h->command && c->operation == h->operation) {
            fw_map request;
            int status = fw_map_open(&request, body, size);
            return status == FW_OK ? c->run(fw, &request, answer) : status;
        }
    }
    return FW_ERR_NOT_SUPPORTED;
}

/* What a client of protocol version 1 gets: it knows general codes only. */
static uint32_t general_code(int status)
{
    switch (status) {
    case FW_ERR_NO_FREE_SLOT:
    case FW_ERR_ALREADY_PENDING:
    case FW_ERR_TEST_OF_ACTIVE:
    case FW_ERR_VERSION_IS_NEWER:
    case FW_ERR_NO_MODEL:
        return 6;   /* bad state */
    case FW_ERR_FLASH_WRITE:
    case FW_ERR_FLASH_ERASE:
    case FW_ERR_ENGINE:
        return 1;   /* unknown */
    case FW_ERR_NO_MEMORY:
        return 2;
    case FW_ERR_NO_IMAGE:
        return 5;   /* no entry */
    case FW_ERR_INVALID_HASH:
        return 9;   /* corrupt */
    case FW_ERR_SIGNATURES:
        return 11;  /* access denied */
    default:
        return 3;   /* invalid */
    }
}

static void write_refusal(const header *h, int status, fw_writer *answer)
{
    uint32_t code = (uint32_t)-status;
    if (code < 100 || h->version < VERSION_2) {
        fw_put_uint(answer, "rc", code < 100 ? code : general_code(status));
        return;
    }
    fw_write_text(answer, "err");
    fw_write_map(answer);
    fw_put_uint(answer, "group", code < 200 ? 1u : FW_WHERRY_GROUP);
    fw_put_uint(answer, "rc", code % 100u);
    fw_write_end(answer);
}

static void restart_answer(fw_firmware *fw, fw_writer *answer)
{
    answer->data = fw->answer + HEADER_SIZE;
    answer->size = 0;
    answer->capacity = FW_PACKET_MAX - HEADER_SIZE - ROOM_FOR_END;
    answer->is_overflown = false;
    fw_write_map(answer);
}

static void serve(fw_firmware *fw, const uint8_t *packet, size_t size)
{
    header h;
    fw_writer answer;
    if (!read_header(packet, size, &h)) {
        return;
    }
    restart_answer(fw, &answer);
    int status = run(fw, &h, packet + HEADER_SIZE, size - HEADER_SIZE, &answer);
    if (status == FW_OK && answer.is_overflown) {
        status = FW_ERR_ANSWER_SIZE;
    }
    if (status != FW_OK) {
        restart_answer(fw, &answer);
        write_refusal(&h, status, &answer);
    }
    answer.capacity += ROOM_FOR_END;
    fw_write_end(&answer);
    write_header(&h, fw->answer, answer.size);
    fw_frame_send(fw->answer, HEADER_SIZE + answer.size, fw->board->transmit, fw->board->context);
}

void fw_receive(fw_firmware *fw, uint8_t byte)
{
    const uint8_t *packet;
    size_t size;
    if (!fw->wants_reset && fw_frame_feed(&fw->decoder, byte, &packet, &size)) {
        serve(fw, packet, size);
    }
}
