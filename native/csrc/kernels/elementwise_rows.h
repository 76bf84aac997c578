/* Rows of operators with two operands for one width of elements; elementwise.c includes it once
 * per width, with ELEMENT, OF_WIDTH and TO_ELEMENT defined. No include guard, for that reason. */

static void OF_WIDTH(add_row)(const binary *op, row r)
{
    const ELEMENT *a = r.a;
    const ELEMENT *b = r.b;
    ELEMENT *y = r.y;
    for (int32_t i = 0; i < r.count; i++) {
        int32_t sum = wh_wrapping_add(scaled_a(op, a[i * r.stride_a]),
                                      scaled_b(op, b[i * r.stride_b]));
        y[i] = TO_ELEMENT(finish_sum(op, sum), op->zero_y, op->params[WH_SUM_ACT_MIN],
                          op->params[WH_SUM_ACT_MAX]);
    }
}

static void OF_WIDTH(sub_row)(const binary *op, row r)
{
    const ELEMENT *a = r.a;
    const ELEMENT *b = r.b;
    ELEMENT *y = r.y;
    for (int32_t i = 0; i < r.count; i++) {
        uint32_t negative = 0u - (uint32_t)scaled_b(op, b[i * r.stride_b]);
        int32_t sum = wh_wrapping_add(scaled_a(op, a[i * r.stride_a]), (int32_t)negative);
        y[i] = TO_ELEMENT(finish_sum(op, sum), op->zero_y, op->params[WH_SUM_ACT_MIN],
                          op->params[WH_SUM_ACT_MAX]);
    }
}

static void OF_WIDTH(mul_row)(const binary *op, row r)
{
    const ELEMENT *a = r.a;
    const ELEMENT *b = r.b;
    ELEMENT *y = r.y;
    for (int32_t i = 0; i < r.count; i++) {
        int32_t value = product(op, a[i * r.stride_a], b[i * r.stride_b]);
        y[i] = TO_ELEMENT(value, op->zero_y, op->params[WH_RESCALE_ACT_MIN],
                          op->params[WH_RESCALE_ACT_MAX]);
    }
}

static void OF_WIDTH(div_row)(const binary *op, row r)
{
    const ELEMENT *a = r.a;
    const ELEMENT *b = r.b;
    ELEMENT *y = r.y;
    for (int32_t i = 0; i < r.count; i++) {
        int32_t value = quotient(op, a[i * r.stride_a], b[i * r.stride_b]);
        y[i] = TO_ELEMENT(value, op->zero_y, op->params[WH_RESCALE_ACT_MIN],
                          op->params[WH_RESCALE_ACT_MAX]);
    }
}

/* Slopes have 8 bits. */
static void OF_WIDTH(prelu_row)(const binary *op, row r)
{
    const ELEMENT *x = r.a;
    const int8_t *alpha = r.b;
    ELEMENT *y = r.y;
    for (int32_t i = 0; i < r.count; i++) {
        int32_t value = sloped(op->params, x[i * r.stride_a] - op->zero_a,
                               alpha[i * r.stride_b] - op->zero_b);
        y[i] = TO_ELEMENT(value, op->zero_y, ELEMENT_MIN, ELEMENT_MAX);
    }
}
