/* Choosing a kernel for every node, once, and letting it prepare.
 *
 * Prepared memory: one step per node, then what each kernel asked for, each from a multiple of 64.
 * The arena: the tensors, then, from a multiple of 64, as much scratch as the most demanding kernel
 * asked for. */

#include "call.h"

/* A wish beyond these is not met, and another kernel runs: a small image whose nodes share
 * their weights must not take all memory. */
#define SCRATCH_MAX ((uint64_t)0x7FFFFFF0u)
#define PREPARED_MODEST ((uint64_t)1 << 20)
#define PREPARED_PER_IMAGE 64u

static size_t rounded_up(size_t size)
{
    return (size + WH_PREPARED_ALIGNMENT - 1) / WH_PREPARED_ALIGNMENT * WH_PREPARED_ALIGNMENT;
}

/* `prepared` bytes went to the nodes before. */
static int is_within_limits(const wh_program *program, const wh_needs *needs, uint64_t prepared)
{
    uint64_t granted =
        PREPARED_MODEST + (uint64_t)PREPARED_PER_IMAGE * program->header->image_size;
    return needs->scratch <= SCRATCH_MAX && needs->prepared <= granted &&
           needs->prepared + prepared <= granted;
}

/* Tables for particular processors have kernels for 8-bit activations only. */
static int is_narrow(const wh_program *program, const wh_node *node)
{
    return program->tensors[node->output].dtype == WH_INT8 &&
           wh_operand_of(program, node, 0)->dtype == WH_INT8;
}

/* The kernel for a node, and what it asks for. */
static const wh_kernel *choose(const wh_program *program, const wh_kernels *kernels,
                               const wh_node *node, uint64_t prepared, wh_needs *needs)
{
    const wh_kernel *kernel = is_narrow(program, node) ? &kernels->of[node->op] : NULL;
    for (; kernel != NULL && kernel->run != NULL; kernel = kernel->otherwise) {
        *needs = (wh_needs){0, 0};
        if (kernel->needs == NULL || (kernel->needs(program, node, needs) &&
                                      is_within_limits(program, needs, prepared))) {
            return kernel;
        }
    }
    *needs = (wh_needs){0, 0};
    return &wh_portable_kernels()->of[node->op];
}

static size_t steps_size(const wh_program *program)
{
    return rounded_up((program->header->node_count + 1u) * sizeof(wh_step));
}

size_t wh_prepare_size(const wh_program *program, const wh_kernels *kernels)
{
    size_t size = steps_size(program);
    for (uint32_t i = 0; i < program->header->node_count; i++) {
        wh_needs needs;
        (void)choose(program, kernels, &program->nodes[i], size, &needs);
        size += rounded_up(needs.prepared);
    }
    return size;
}

/* Writes the steps and what follows them. The scratch that all of them together need. */
static size_t prepare_nodes(const wh_program *program, const wh_kernels *kernels, uint8_t *memory)
{
    wh_step *steps = (void *)memory;
    size_t used = steps_size(program);
    size_t scratch = 0;
    for (uint32_t i = 0; i < program->header->node_count; i++) {
        const wh_node *node = &program->nodes[i];
        wh_needs needs;
        const wh_kernel *kernel = choose(program, kernels, node, used, &needs);
        steps[i] = (wh_step){kernel->run, needs.prepared != 0 ? memory + used : NULL};
        if (needs.prepared != 0) {
            kernel->prepare(program, node, memory + used);
        }
        used += rounded_up(needs.prepared);
        scratch = needs.scratch > scratch ? needs.scratch : scratch;
    }
    return scratch;
}

int wh_prepare(wh_program *program, const wh_kernels *kernels, void *memory, size_t memory_size)
{
    if (program == NULL || kernels == NULL || memory == NULL ||
        (uintptr_t)memory % WH_PREPARED_ALIGNMENT != 0) {
        return WH_ERR_ARGUMENT;
    }
    if (memory_size < wh_prepare_size(program, kernels)) {
        return WH_ERR_PREPARED;
    }
    size_t scratch = prepare_nodes(program, kernels, memory);
    program->kernels = kernels;
    program->steps = memory;
    program->scratch_offset = rounded_up(program->header->arena_size);
    program->arena_size = program->scratch_offset + rounded_up(scratch);
    return WH_OK;
}

const char *wh_kernels_name(const wh_kernels *kernels)
{
    return kernels->name;
}
