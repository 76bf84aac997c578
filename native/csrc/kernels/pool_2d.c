/* AVERAGE_POOL_2D and MAX_POOL_2D: only taps inside the input count. */

#include "../core/layout.h"
#include "kernels.h"
#include "rescale.h"
#include "window.h"

typedef struct {
    const void *x;
    const int32_t *params;
    intptr_t image;  /* elements in front of the batch's image */
    int32_t in_w, channels;
    int is_wide;
} pool;

typedef int32_t (*reduction)(const pool *p, wh_window rows, wh_window columns, int32_t channel);

static int32_t at(const pool *p, intptr_t y, intptr_t x, int32_t channel)
{
    return wh_element(p->x, p->is_wide, p->image + (y * p->in_w + x) * p->channels + channel);
}

static int32_t average(const pool *p, wh_window rows, wh_window columns, int32_t channel)
{
    int32_t count = (rows.end - rows.first) * (columns.end - columns.first);
    int32_t sum = 0;
    for (intptr_t y = rows.origin + rows.first; y < rows.origin + rows.end; y++) {
        for (intptr_t x = columns.origin + columns.first; x < columns.origin + columns.end; x++) {
            sum += at(p, y, x, channel);
        }
    }
    int32_t rounded = (sum > 0 ? sum + count / 2 : sum - count / 2) / count;
    return rounded;
}

static int32_t maximum(const pool *p, wh_window rows, wh_window columns, int32_t channel)
{
    int32_t best = INT16_MIN;
    for (intptr_t y = rows.origin + rows.first; y < rows.origin + rows.end; y++) {
        for (intptr_t x = columns.origin + columns.first; x < columns.origin + columns.end; x++) {
            int32_t value = at(p, y, x, channel);
            best = value > best ? value : best;
        }
    }
    return best;
}

/* Writes from element `y` of the result on; returns the element behind. */
static intptr_t row_of_outputs(const pool *p, wh_window rows, int32_t out_w, reduction reduce,
                               void *result, intptr_t y)
{
    const int32_t *params = p->params;
    for (int32_t ox = 0; ox < out_w; ox++) {
        wh_window columns = wh_window_at(ox, params[WH_POOL_STRIDE_W], params[WH_POOL_PAD_LEFT], 1,
                                         params[WH_POOL_FILTER_W], p->in_w);
        for (int32_t c = 0; c < p->channels; c++) {
            int32_t value = wh_clamp(reduce(p, rows, columns, c), params[WH_POOL_ACT_MIN],
                                     params[WH_POOL_ACT_MAX]);
            wh_store(result, p->is_wide, y++, value);
        }
    }
    return y;
}

static void pool_2d(const wh_call *call, reduction reduce)
{
    const wh_tensor *in = wh_operand(call, 0);
    const wh_tensor *out = wh_result(call);
    const int32_t *params = call->node->params;
    pool p = {
        .x = wh_bytes(call, in),
        .params = params,
        .in_w = wh_dim(in, 2),
        .channels = wh_dim(in, 3),
        .is_wide = in->dtype == WH_INT16,
    };
    intptr_t y = 0;
    for (int32_t b = 0; b < wh_dim(in, 0); b++) {
        for (int32_t oy = 0; oy < wh_dim(out, 1); oy++) {
            wh_window rows = wh_window_at(oy, params[WH_POOL_STRIDE_H], params[WH_POOL_PAD_TOP], 1,
                                          params[WH_POOL_FILTER_H], wh_dim(in, 1));
            y = row_of_outputs(&p, rows, wh_dim(out, 2), reduce, wh_result_int8(call), y);
        }
        p.image += (intptr_t)wh_dim(in, 1) * p.in_w * p.channels;
    }
}

void wh_average_pool_2d(const wh_call *call)
{
    pool_2d(call, average);
}

void wh_max_pool_2d(const wh_call *call)
{
    pool_2d(call, maximum);
}
