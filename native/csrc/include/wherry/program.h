/* The program format, version 1: one flat little-endian image that the engine runs in place.
 *
 * Layout (described for readers of other languages in docs/SPEC-program.md):
 *
 *   header | tensors | nodes | pieces | links | names | zeros to 16     = piece 0, the structure
 *   constants of the first layer, zeros to 16                           = piece 1
 *   constants of the second layer, zeros to 16                          = piece 2 …
 *
 * The image must lie at an address that is a multiple of 16. Every constant and every arena tensor
 * begins at a multiple of 16. All fields are little-endian; reserved fields and padding are zero.
 */

#ifndef WHERRY_PROGRAM_H
#define WHERRY_PROGRAM_H

#include <stdint.h>

#define WH_PROGRAM_MAGIC "WHRYPROG"
#define WH_PROGRAM_FORMAT 1u  /* layout of the image */
#define WH_ENGINE_ABI 2u      /* operators and their parameters: the newest that runs here */
#define WH_ENGINE_ABI_MIN 1u  /* the oldest that runs here */
#define WH_ALIGNMENT 16u
#define WH_RANK_MAX 5u
#define WH_PARAM_COUNT 16u
#define WH_TENSORS_MAX 8192u
#define WH_NODES_MAX 2048u
#define WH_OPERANDS_MAX 64u

/* 64 bytes. */
typedef struct {
    uint8_t magic[8];
    uint16_t format_version;
    uint16_t engine_abi;      /* the least that the program needs */
    uint32_t image_size;      /* bytes, a multiple of 16 */
    uint32_t structure_size;  /* bytes of piece 0, a multiple of 16 */
    uint32_t arena_size;      /* bytes the caller must give, a multiple of 16 */
    uint64_t macs;            /* multiply-accumulates of one inference; for reports only */
    uint16_t tensor_count;
    uint16_t node_count;
    uint16_t piece_count;     /* at least 1: the structure itself */
    uint16_t input_count;     /* links [0, input_count) */
    uint16_t output_count;    /* the links after those */
    uint16_t state_count;     /* the links after those */
    uint32_t link_count;
    uint32_t names_size;      /* bytes; the last one is NUL */
    uint32_t name;            /* of the program: offset into names */
    uint32_t reserved[2];
} wh_program_header;

/* 48 bytes. */
typedef struct {
    uint8_t dtype;            /* wh_dtype */
    uint8_t rank;             /* 0 to WH_RANK_MAX; dims beyond it are 0 */
    uint8_t kind;             /* wh_tensor_kind */
    uint8_t reserved0;
    int32_t zero_point;       /* 0 for constants that are not activations */
    uint32_t scale_bits;      /* IEEE 754 float32, the I/O contract; never computed with */
    uint32_t offset;          /* bytes from the start of the image (constants) or arena */
    uint32_t size;            /* bytes: product of dims times the dtype's size */
    uint32_t dims[WH_RANK_MAX];
    uint32_t name;
    uint32_t reserved1;
} wh_tensor;

/* 80 bytes. */
typedef struct {
    uint16_t op;              /* wh_op */
    uint8_t rounding;         /* wh_rounding */
    uint8_t operand_count;
    uint32_t operand_first;   /* index into links */
    uint16_t output;          /* tensor index */
    uint16_t reserved;
    uint32_t name;
    int32_t params[WH_PARAM_COUNT];  /* by operator, below; unused ones are 0 */
} wh_node;

/* 16 bytes. Pieces lie one after another without gaps; the first is the structure. */
typedef struct {
    uint32_t name;
    uint32_t offset;          /* bytes from the image's start, a multiple of 16 */
    uint32_t size;            /* bytes, a multiple of 16 */
    uint32_t reserved;
} wh_piece;

/* INT64 is for the biases of 16-bit layers only (ABI 2). */
typedef enum { WH_INT8 = 1, WH_INT16 = 2, WH_INT32 = 3, WH_INT64 = 4 } wh_dtype;

/* A state tensor lives in the arena, keeps its bytes from one inference to the next, and shares
 * them with nobody; a reset fills it with its zero point. */
typedef enum { WH_ARENA = 1, WH_CONSTANT = 2, WH_STATE = 3 } wh_tensor_kind;

/* How an accumulator becomes an output. ABI 1 has only D.
 * D: gemmlowp double rounding of a 32-bit accumulator.
 * F: float32 scale, half to even; the scale is m 2^(s-31), so the last 7 bits of m are 0.
 * W: one rounding of a 64-bit accumulator with a 16-bit multiplier: layers of 16-bit activations
 *    with a 64-bit bias, as TFLite computes them. */
typedef enum { WH_ROUNDING_D = 1, WH_ROUNDING_F = 2, WH_ROUNDING_W = 3 } wh_rounding;

/* Operators: operands → output; params in order. `m`, `s` is a 31-bit multiplier and a shift
 * (positive left, negative right, −31 … 30). Zero points are those of the tensors. */
typedef enum {
    /* x, w[out,in], bias[out], m[out], s[out] → y; act_min, act_max */
    WH_FULLY_CONNECTED = 1,
    /* x[n,h,w,c], w[out,kh,kw,c/groups], bias, m, s → y[n,oh,ow,out];
     * stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, act_min, act_max */
    WH_CONV_2D = 2,
    /* x[n,h,w,c], w[1,kh,kw,c*k], bias, m, s → y[n,oh,ow,c*k]; params as CONV_2D */
    WH_DEPTHWISE_CONV_2D = 3,
    /* x → y; filter_h, filter_w, stride_h, stride_w, pad_top, pad_left, act_min, act_max */
    WH_AVERAGE_POOL_2D = 4,
    WH_MAX_POOL_2D = 5,
    /* x → y; axis_mask (bit i: axis i is reduced), m, s (with 1/count in them) */
    WH_MEAN = 6,
    /* a, b → y, broadcast as numpy; left_shift, m_a, s_a, m_b, s_b, m_y, s_y, act_min, act_max */
    WH_ADD = 7,
    WH_SUB = 8,
    /* a, b → y, broadcast; m, s, act_min, act_max */
    WH_MUL = 9,
    /* x0, x1, … → y, all of one scale and zero point; axis */
    WH_CONCATENATION = 10,
    /* x → y; before_0 … before_4 (elements in front, per axis), value */
    WH_PAD = 11,
    /* x → y, same bytes */
    WH_RESHAPE = 12,
    /* x → y over the last axis; m, left_shift, diff_min (gemmlowp Q5.26 exponential).
     * int16: x, exponentials[513], reciprocals[513] → y; diff_min is 0 */
    WH_SOFTMAX = 13,
    /* x, table[256] → y = table[x + 128].
     * int16: table is sigmoid(i / 24) - 1/2, interpolated; m, s bring x to steps of 1/12288 */
    WH_LOGISTIC = 14,
    WH_TANH = 15,
    /* x → y = clamp(rescale(x - zero_x) + zero_y); m, s, act_min, act_max */
    WH_RELU = 16,
    WH_RELU6 = 17,
    WH_QUANTIZE = 18,
    /* ABI 2 from here on. */
    /* x, table → y: int8 by table[256], int16 interpolated between table[513] */
    WH_LOOKUP = 19,
    /* a, b → y = a / b, broadcast; m, s, act_min, act_max */
    WH_DIV = 20,
    /* x → y; m, s above 0, m_alpha, s_alpha below */
    WH_LEAKY_RELU = 21,
    /* x, alpha int8 → y, broadcast; as LEAKY_RELU, below 0 times alpha */
    WH_PRELU = 22,
    /* x[n,h,w,c], w[out,kh,kw,c], bias, m, s → y[n,oh,ow,out];
     * stride_h, stride_w, pad_top, pad_left, act_min, act_max */
    WH_TRANSPOSE_CONV = 23,
    /* x → y; from_0 … from_4: which axis of x each axis of y is */
    WH_TRANSPOSE = 24,
    /* x → y, as many elements as the slice; begin_0 …, extent_0 …, step_0 … per axis of x */
    WH_STRIDED_SLICE = 25,
    /* x, indices int32 → y; axis. Indices outside are moved to the nearest end */
    WH_GATHER = 26,
    /* x[n,h,w,c], rows[oh] int32, columns[ow] int32 → y[n,oh,ow,c] */
    WH_RESIZE_NEAREST = 27,
    /* x → y int32, the first of the largest; axis */
    WH_ARG_MAX = 28
} wh_op;
#define WH_OP_COUNT 29u

#endif
