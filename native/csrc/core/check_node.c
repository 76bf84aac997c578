/* One node against its operator's rule: number of operands and parameters, ABI, rounding, widths;
 * the rest is in the check of its kind (node_checks.h). */

#include "check.h"
#include "node_checks.h"

#define RULE_D (1u << WH_ROUNDING_D)
#define RULE_F (1u << WH_ROUNDING_F)
#define RULE_W (1u << WH_ROUNDING_W)
#define RULE_ANY (RULE_D | RULE_F | RULE_W)

/* `abi`: the first that has the operator. `roundings`: the rules that its kernels have. `is_index`:
 * the result is int32. */
typedef struct {
    int (*check)(const wh_subject *s);
    uint8_t operands_min, operands_max, params, abi, roundings, is_index;
} rule;

static const rule rules[WH_OP_COUNT] = {
    [WH_FULLY_CONNECTED] = {wh_check_fully_connected, 5, 5, 2, 1, RULE_ANY, 0},
    [WH_CONV_2D] = {wh_check_conv_2d, 5, 5, 8, 1, RULE_ANY, 0},
    [WH_DEPTHWISE_CONV_2D] = {wh_check_depthwise_conv_2d, 5, 5, 8, 1, RULE_ANY, 0},
    [WH_AVERAGE_POOL_2D] = {wh_check_pool, 1, 1, 8, 1, RULE_D, 0},
    [WH_MAX_POOL_2D] = {wh_check_pool, 1, 1, 8, 1, RULE_D, 0},
    [WH_MEAN] = {wh_check_mean, 1, 1, 3, 1, RULE_D, 0},
    [WH_ADD] = {wh_check_sum, 2, 2, 9, 1, RULE_D, 0},
    [WH_SUB] = {wh_check_sum, 2, 2, 9, 1, RULE_D, 0},
    [WH_MUL] = {wh_check_mul, 2, 2, 4, 1, RULE_D, 0},
    [WH_CONCATENATION] = {wh_check_concatenation, 1, WH_OPERANDS_MAX, 1, 1, RULE_D, 0},
    [WH_PAD] = {wh_check_pad, 1, 1, 6, 1, RULE_D, 0},
    [WH_RESHAPE] = {wh_check_reshape, 1, 1, 0, 1, RULE_D, 0},
    [WH_SOFTMAX] = {wh_check_softmax, 1, 3, 3, 1, RULE_D, 0},
    [WH_LOGISTIC] = {wh_check_sigmoid, 2, 2, 2, 1, RULE_D, 0},
    [WH_TANH] = {wh_check_sigmoid, 2, 2, 2, 1, RULE_D, 0},
    [WH_RELU] = {wh_check_requantize, 1, 1, 4, 1, RULE_D, 0},
    [WH_RELU6] = {wh_check_requantize, 1, 1, 4, 1, RULE_D, 0},
    [WH_QUANTIZE] = {wh_check_requantize, 1, 1, 4, 1, RULE_D, 0},
    [WH_LOOKUP] = {wh_check_lookup, 2, 2, 0, 2, RULE_D, 0},
    [WH_DIV] = {wh_check_div, 2, 2, 4, 2, RULE_D, 0},
    [WH_LEAKY_RELU] = {wh_check_leaky_relu, 1, 1, 4, 2, RULE_D, 0},
    [WH_PRELU] = {wh_check_prelu, 2, 2, 4, 2, RULE_D, 0},
    [WH_TRANSPOSE_CONV] = {wh_check_transpose_conv, 5, 5, 6, 2, RULE_D | RULE_W, 0},
    [WH_TRANSPOSE] = {wh_check_transpose, 1, 1, 5, 2, RULE_D, 0},
    [WH_STRIDED_SLICE] = {wh_check_strided_slice, 1, 1, 15, 2, RULE_D, 0},
    [WH_GATHER] = {wh_check_gather, 2, 2, 1, 2, RULE_D, 0},
    [WH_RESIZE_NEAREST] = {wh_check_resize_nearest, 3, 3, 0, 2, RULE_D, 0},
    [WH_ARG_MAX] = {wh_check_arg_max, 1, 1, 1, 2, RULE_D, 1},
};

static int has_unused_params(const wh_node *node, uint32_t used)
{
    int is_used = node->reserved != 0;
    for (uint32_t i = used; i < WH_PARAM_COUNT; i++) {
        is_used = is_used || node->params[i] != 0;
    }
    return is_used;
}

/* Activations of 16 bits came with ABI 2; their zero point is 0. */
static int check_widths(const wh_subject *s, int is_index)
{
    int is_allowed = is_index ? s->output->dtype == WH_INT32
                              : s->output->dtype == WH_INT8 ||
                                    (s->output->dtype == WH_INT16 &&
                                     s->program->header->engine_abi > 1);
    if (!is_allowed) {
        return WH_ERR_SHAPE;
    }
    int is_symmetric = s->output->dtype != WH_INT16 || s->output->zero_point == 0;
    for (uint32_t i = 0; i < s->node->operand_count; i++) {
        const wh_tensor *t = wh_subject_operand(s, i);
        if (t->dtype == WH_INT16 && s->program->header->engine_abi == 1) {
            return WH_ERR_SHAPE;
        }
        is_symmetric = is_symmetric && (t->dtype != WH_INT16 || t->zero_point == 0);
    }
    return is_symmetric ? WH_OK : WH_ERR_PARAM;
}

static int has_rounding(const wh_program *program, const rule *r, uint8_t rounding)
{
    int is_old = program->header->engine_abi == 1;
    return rounding <= WH_ROUNDING_W && (r->roundings >> rounding & 1u) != 0 &&
           (!is_old || rounding == WH_ROUNDING_D);
}

int wh_check_node(const wh_program *program, uint32_t index)
{
    const wh_node *node = &program->nodes[index];
    if (node->op == 0 || node->op >= WH_OP_COUNT) {
        return WH_ERR_OPERATOR;
    }
    const rule *r = &rules[node->op];
    if (r->abi > program->header->engine_abi) {
        return WH_ERR_ENGINE_ABI;
    }
    if (node->operand_count < r->operands_min || node->operand_count > r->operands_max) {
        return WH_ERR_OPERATOR;
    }
    if (!has_rounding(program, r, node->rounding)) {
        return WH_ERR_ROUNDING;
    }
    if (has_unused_params(node, r->params)) {
        return WH_ERR_PARAM;
    }
    wh_subject s = {program, node, &program->tensors[node->output], node->params};
    int status = check_widths(&s, r->is_index);
    return status != WH_OK ? status : r->check(&s);
}
