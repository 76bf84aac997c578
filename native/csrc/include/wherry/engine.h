/* The engine: checks a program image once, then runs it in place, in integers only.
 *
 * Freestanding C99: no allocation, no state of its own, no libc beyond memcpy and memset. The
 * caller owns the image (which must outlive the wh_program and stay unchanged), the wh_program and
 * the arena. One program may be run by several threads, each with its own arena.
 *
 *     wh_program program;
 *     int status = wh_program_load(&program, image, image_size, NULL);
 *     if (status == WH_OK) status = wh_reset(&program, arena, arena_size);
 *     … write the inputs …
 *     if (status == WH_OK) status = wh_run(&program, arena, arena_size);
 *
 * Who has memory to spare may let kernels of its processor choose and prepare for every node,
 * once, before the arena is made (which then is larger: program.arena_size):
 *
 *     if (status == WH_OK) size = wh_prepare_size(&program, kernels);
 *     if (status == WH_OK) status = wh_prepare(&program, kernels, memory, size);
 */

#ifndef WHERRY_ENGINE_H
#define WHERRY_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "wherry/program.h"

#if defined(__GNUC__)
#define WH_MUST_CHECK __attribute__((warn_unused_result))
#else
#define WH_MUST_CHECK
#endif

typedef enum {
    WH_OK = 0,
    /* The caller's call. */
    WH_ERR_ARGUMENT = -1,        /* a null or misaligned pointer, or an index beyond its count */
    WH_ERR_ARENA = -2,           /* the arena is smaller than the program's arena_size */
    WH_ERR_INPUT_SIZE = -3,      /* the input's length is not the program's */
    WH_ERR_OUTPUT_SIZE = -4,     /* the room for the output is not the program's output size */
    WH_ERR_PREPARED = -7,        /* less memory than wh_prepare_size asks for */
    /* The processor. */
    WH_ERR_BYTE_ORDER = -5,      /* it is big-endian, and programs run where they lie */
    WH_ERR_KERNELS = -6,         /* no kernels of that name, or not for this processor */
    /* The image. */
    WH_ERR_TRUNCATED = -10,      /* the image ends before a table, or its length is not that */
    WH_ERR_MAGIC = -11,
    WH_ERR_FORMAT_VERSION = -12,
    WH_ERR_ENGINE_ABI = -13,
    WH_ERR_HEADER = -14,         /* a count or size of the header is out of its limits */
    WH_ERR_PIECE = -15,          /* pieces do not tile the image */
    WH_ERR_NAME = -16,           /* a name is outside the names, or the names do not end with NUL */
    WH_ERR_TENSOR = -17,         /* a tensor's fields contradict each other or leave their memory */
    WH_ERR_OPERATOR = -18,       /* unknown operator or operand count */
    WH_ERR_ROUNDING = -19,       /* a rounding rule that this engine does not have */
    WH_ERR_LINK = -20,           /* an operand, output, input or state that is no such tensor */
    WH_ERR_SHAPE = -21,          /* shapes or types do not fit the operator */
    WH_ERR_PARAM = -22,          /* a parameter, multiplier or shift is out of range */
    WH_ERR_ORDER = -23,          /* a node reads what nobody has written, or writes twice */
    WH_ERR_OVERLAP = -24,        /* memory is shared that must not be */
    /* The inference loop (csrc/host). */
    WH_ERR_NO_MODEL = -40,       /* no instance is active */
    WH_ERR_QUEUE_FULL = -41,
    WH_ERR_TIMEOUT = -42,
    WH_ERR_STOPPED = -43,        /* the loop is not running */
    WH_ERR_MEMORY = -44,
    WH_ERR_THREAD = -45,
    WH_ERR_EMPTY = -46,          /* no sample to take a quantile of */
    WH_ERR_BUSY = -47            /* the instance is already in use, or a replay is running */
} wh_status;

/* Where in an image a check failed. */
typedef enum {
    WH_PART_IMAGE = 0,
    WH_PART_HEADER = 1,
    WH_PART_PIECE = 2,
    WH_PART_TENSOR = 3,
    WH_PART_NODE = 4,
    WH_PART_LINK = 5
} wh_part;

typedef struct {
    uint16_t part;   /* wh_part */
    uint32_t index;  /* of the piece, tensor, node or link; 0 otherwise */
} wh_location;

struct wh_kernels;
struct wh_step;

/* A checked program. Valid only after wh_program_load returned WH_OK; all pointers lead into the
 * image. */
typedef struct {
    const uint8_t *image;
    const wh_program_header *header;
    const wh_tensor *tensors;
    const wh_node *nodes;
    const wh_piece *pieces;
    const uint16_t *links;
    const char *names;
    const struct wh_kernels *kernels;  /* the portable ones, until others are prepared */
    const struct wh_step *steps;       /* one per node, in prepared memory; NULL: as loaded */
    size_t scratch_offset;             /* in the arena */
    size_t arena_size;                 /* bytes the caller gives to reset and run */
} wh_program;

/* Checks every field of the image once. `image` is aligned to 16 and stays the caller's. `where`
 * may be NULL; on an error it tells the place. */
WH_MUST_CHECK int wh_program_load(wh_program *program, const void *image, size_t image_size,
                                  wh_location *where);

#define WH_PREPARED_ALIGNMENT 64u

/* Bytes of memory with which `kernels` can prepare this loaded program; never 0. */
size_t wh_prepare_size(const wh_program *program, const struct wh_kernels *kernels);

/* Chooses a kernel for every node, once, and lets it prepare: weights in its own order, say.
 * `memory` is aligned to 64, of at least wh_prepare_size bytes, and stays the caller's; the program
 * reads it as long as it runs, and several threads may. Changes program->arena_size. */
WH_MUST_CHECK int wh_prepare(wh_program *program, const struct wh_kernels *kernels, void *memory,
                             size_t memory_size);

/* The kernels of any machine; and their name, or that of others. */
const struct wh_kernels *wh_portable_kernels(void);
const char *wh_kernels_name(const struct wh_kernels *kernels);

/* Resets an arena of at least program->arena_size bytes, aligned to 16: states become their zero
 * point. */
WH_MUST_CHECK int wh_reset(const wh_program *program, void *arena, size_t arena_size);

/* One inference. Reads the input tensors in the arena, leaves the output tensors there; input
 * tensors may be overwritten. */
WH_MUST_CHECK int wh_run(const wh_program *program, void *arena, size_t arena_size);

/* The i-th input, output or state; NULL beyond the count. */
const wh_tensor *wh_input(const wh_program *program, uint32_t index);
const wh_tensor *wh_output(const wh_program *program, uint32_t index);
const wh_tensor *wh_state(const wh_program *program, uint32_t index);

/* A loaded program's name at an offset of its names. */
const char *wh_name(const wh_program *program, uint32_t offset);

/* "WH_ERR_SHAPE" and the like; "WH_ERR_UNKNOWN" for a number that is no status. Never NULL. */
const char *wh_error_name(int status);

/* "CONV_2D" and the like; "UNKNOWN" beyond the operators. Never NULL. */
const char *wh_op_name(uint32_t op);

#endif
