/* One node of a checked program on one arena: what a kernel gets, and how it reaches tensors;
 * tables of kernels, and what wh_prepare makes of them.
 *
 * The loader has checked every index, shape and offset, so nothing here checks again. */

#ifndef WHERRY_CORE_CALL_H
#define WHERRY_CORE_CALL_H

#include "wherry/engine.h"

typedef struct {
    const wh_program *program;
    const wh_node *node;
    uint8_t *arena;
    const void *prepared;  /* what the kernel's prepare wrote; NULL where it asked for nothing */
    uint8_t *scratch;      /* of the arena, behind the tensors, as much as the kernel asked for */
} wh_call;

typedef void (*wh_run_kernel)(const wh_call *call);

/* Memory that a kernel asks for on a node, in bytes; it begins at a multiple of 16. */
typedef struct {
    size_t prepared;  /* written once, by prepare, and only read after that */
    size_t scratch;   /* shared by all nodes: holds nothing from one kernel to the next */
} wh_needs;

/* A kernel. `needs` says whether it takes a node, and what it asks for there; without one it takes
 * every node and asks for nothing. `prepare` is called where prepared is not 0. A node that it does
 * not take, or for which it asks too much, is offered to `otherwise`. */
typedef struct wh_kernel {
    wh_run_kernel run;
    int (*needs)(const wh_program *program, const wh_node *node, wh_needs *needs);
    void (*prepare)(const wh_program *program, const wh_node *node, void *prepared);
    const struct wh_kernel *otherwise;
} wh_kernel;

/* One kernel per operator; a target has one table. The portable one has them all and asks for
 * nothing; where another has none, or none of them takes the node, the portable one runs. */
typedef struct wh_kernels {
    const char *name;
    wh_kernel of[WH_OP_COUNT];
} wh_kernels;

/* What wh_prepare chose for one node. */
typedef struct wh_step {
    wh_run_kernel run;
    const void *prepared;
} wh_step;

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

static inline int16_t *wh_result_int16(const wh_call *call)
{
    return (void *)wh_result_int8(call);
}

static inline int32_t wh_element_bytes(const wh_tensor *tensor)
{
    return 1 << (tensor->dtype - WH_INT8);
}

/* Element `at` of int8 or int16 elements; compilers take the choice out of loops. */
static inline int32_t wh_element(const void *x, int is_wide, intptr_t at)
{
    return is_wide ? ((const int16_t *)x)[at] : ((const int8_t *)x)[at];
}

static inline void wh_store(void *y, int is_wide, intptr_t at, int32_t value)
{
    if (is_wide) {
        ((int16_t *)y)[at] = (int16_t)value;
    } else {
        ((int8_t *)y)[at] = (int8_t)value;
    }
}

static inline int32_t wh_dim(const wh_tensor *tensor, uint32_t axis)
{
    return (int32_t)tensor->dims[axis];
}

#endif
