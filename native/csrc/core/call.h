/* One node of a checked program on one arena: what a kernel gets, and how it reaches tensors.
 *
 * The loader has checked every index, shape and offset, so nothing here checks again. */

#ifndef WHERRY_CORE_CALL_H
#define WHERRY_CORE_CALL_H

#include "wherry/engine.h"

typedef struct {
    const wh_program *program;
    const wh_node *node;
    uint8_t *arena;
} wh_call;

typedef void (*wh_kernel)(const wh_call *call);

/* One kernel per operator; a target has one table. */
typedef struct wh_kernels {
    wh_kernel run[WH_OP_COUNT];
} wh_kernels;

static inline const wh_tensor *wh_operand_of(const wh_program *program, const wh_node *node,
                                             uint32_t index)
{
    return &program->tensors[program->links[node->operand_first + index]];
}

static inline const wh_tensor *wh_operand(const wh_call *call, uint32_t index)
{
    return wh_operand_of(call->program, call->node, index);
}

static inline const wh_tensor *wh_result(const wh_call *call)
{
    return &call->program->tensors[call->node->output];
}

static inline const void *wh_bytes(const wh_call *call, const wh_tensor *tensor)
{
    const uint8_t *memory = tensor->kind == WH_CONSTANT ? call->program->image : call->arena;
    return memory + tensor->offset;
}

static inline const int8_t *wh_operand_int8(const wh_call *call, uint32_t index)
{
    return wh_bytes(call, wh_operand(call, index));
}

static inline const int32_t *wh_operand_int32(const wh_call *call, uint32_t index)
{
    return wh_bytes(call, wh_operand(call, index));
}

static inline int8_t *wh_result_int8(const wh_call *call)
{
    return (int8_t *)(call->arena + wh_result(call)->offset);
}

static inline int32_t wh_dim(const wh_tensor *tensor, uint32_t axis)
{
    return (int32_t)tensor->dims[axis];
}

/* Every operator of ABI 1 on any machine; the specification that other tables are held to. */
const wh_kernels *wh_portable_kernels(void);

#endif
