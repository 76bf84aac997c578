/* The graph as a whole: order, single writers, and memory that is shared only where it may be.
 *
 * There is no memory to mark tensors in, so the walks go back over the nodes; programs are small
 * (WH_NODES_MAX) and are loaded once. */

#include "call.h"
#include "check.h"

static int overlaps(const wh_tensor *a, const wh_tensor *b)
{
    return a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

static int is_in_arena(const wh_tensor *t)
{
    return t->kind != WH_CONSTANT;
}

static int writes_in_place(uint32_t op)
{
    return op == WH_RESHAPE || op == WH_LOGISTIC || op == WH_TANH || op == WH_RELU ||
           op == WH_RELU6 || op == WH_QUANTIZE || op == WH_LOOKUP;
}

/* A RESHAPE onto its own bytes changes none of them. */
static int changes_bytes(const wh_program *p, const wh_node *n)
{
    return n->op != WH_RESHAPE || p->tensors[n->output].offset != wh_operand_of(p, n, 0)->offset;
}

static int is_input(const wh_program *p, uint32_t tensor)
{
    for (uint32_t i = 0; i < p->header->input_count; i++) {
        if (p->links[i] == tensor) {
            return 1;
        }
    }
    return 0;
}

/* Before node `at` runs (or, at node_count, after the last one), does the tensor hold what its
 * writer left there? */
static int check_is_intact(const wh_program *p, uint32_t tensor, uint32_t at)
{
    const wh_tensor *t = &p->tensors[tensor];
    if (t->kind != WH_ARENA) {
        return WH_OK;
    }
    for (uint32_t i = at; i-- > 0;) {
        const wh_node *n = &p->nodes[i];
        if (n->output == tensor) {
            return WH_OK;
        }
        if (overlaps(&p->tensors[n->output], t) && changes_bytes(p, n)) {
            return WH_ERR_OVERLAP;
        }
    }
    return is_input(p, tensor) ? WH_OK : WH_ERR_ORDER;
}

static int check_writer(const wh_program *p, uint32_t index)
{
    uint32_t output = p->nodes[index].output;
    if (!is_in_arena(&p->tensors[output]) || is_input(p, output)) {
        return WH_ERR_ORDER;
    }
    for (uint32_t i = 0; i < index; i++) {
        if (p->nodes[i].output == output) {
            return WH_ERR_ORDER;
        }
    }
    return WH_OK;
}

static int check_reader(const wh_program *p, uint32_t index)
{
    const wh_node *n = &p->nodes[index];
    const wh_tensor *output = &p->tensors[n->output];
    for (uint32_t i = 0; i < n->operand_count; i++) {
        const wh_tensor *operand = wh_operand_of(p, n, i);
        if (is_in_arena(operand) && overlaps(operand, output)) {
            int is_same = operand->offset == output->offset && operand->size == output->size;
            if (!is_same || !writes_in_place(n->op)) {
                return WH_ERR_OVERLAP;
            }
        }
        int status = check_is_intact(p, p->links[n->operand_first + i], index);
        if (status != WH_OK) {
            return status;
        }
    }
    return WH_OK;
}

static int shares_memory(const wh_program *p, uint32_t tensor)
{
    for (uint32_t i = 0; i < p->header->tensor_count; i++) {
        const wh_tensor *other = &p->tensors[i];
        if (i != tensor && is_in_arena(other) && overlaps(other, &p->tensors[tensor])) {
            return 1;
        }
    }
    return 0;
}

static int check_states(const wh_program *p, wh_location *where)
{
    uint32_t first = (uint32_t)p->header->input_count + p->header->output_count;
    uint32_t listed = 0;
    for (uint32_t i = 0; i < p->header->tensor_count; i++) {
        listed += p->tensors[i].kind == WH_STATE;
    }
    *where = (wh_location){WH_PART_HEADER, 0};
    if (listed != p->header->state_count) {
        return WH_ERR_LINK;
    }
    for (uint32_t i = 0; i < p->header->state_count; i++) {
        uint32_t tensor = p->links[first + i];
        *where = (wh_location){WH_PART_LINK, first + i};
        if (p->tensors[tensor].kind != WH_STATE || p->tensors[tensor].dtype > WH_INT16) {
            return WH_ERR_LINK;
        }
        for (uint32_t k = 0; k < i; k++) {
            if (p->links[first + k] == tensor) {
                return WH_ERR_LINK;
            }
        }
        if (shares_memory(p, tensor)) {
            return WH_ERR_OVERLAP;
        }
    }
    return WH_OK;
}

static int check_inputs(const wh_program *p, wh_location *where)
{
    for (uint32_t i = 0; i < p->header->input_count; i++) {
        const wh_tensor *input = &p->tensors[p->links[i]];
        *where = (wh_location){WH_PART_LINK, i};
        if (input->kind != WH_ARENA) {
            return WH_ERR_LINK;
        }
        for (uint32_t k = 0; k < i; k++) {
            if (overlaps(input, &p->tensors[p->links[k]])) {
                return WH_ERR_OVERLAP;
            }
        }
    }
    return WH_OK;
}

static int check_outputs(const wh_program *p, wh_location *where)
{
    for (uint32_t i = 0; i < p->header->output_count; i++) {
        uint32_t link = (uint32_t)p->header->input_count + i;
        *where = (wh_location){WH_PART_LINK, link};
        if (!is_in_arena(&p->tensors[p->links[link]])) {
            return WH_ERR_LINK;
        }
        int status = check_is_intact(p, p->links[link], p->header->node_count);
        if (status != WH_OK) {
            return status;
        }
    }
    return WH_OK;
}

static int check_order(const wh_program *p, wh_location *where)
{
    for (uint32_t i = 0; i < p->header->node_count; i++) {
        *where = (wh_location){WH_PART_NODE, i};
        int status = check_writer(p, i);
        if (status == WH_OK) {
            status = check_reader(p, i);
        }
        if (status != WH_OK) {
            return status;
        }
    }
    return WH_OK;
}

int wh_check_graph(const wh_program *program, wh_location *where)
{
    int status = check_inputs(program, where);
    if (status == WH_OK) {
        status = check_states(program, where);
    }
    if (status == WH_OK) {
        status = check_order(program, where);
    }
    if (status == WH_OK) {
        status = check_outputs(program, where);
    }
    return status;
}
