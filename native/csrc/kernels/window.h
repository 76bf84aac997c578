/* Which taps of a filter meet the input when it stands at one output position, along one axis. */

#ifndef WHERRY_KERNELS_WINDOW_H
#define WHERRY_KERNELS_WINDOW_H

#include <stdint.h>

typedef struct {
    int32_t origin; /* input coordinate of tap 0, possibly outside */
    int32_t first;  /* first tap inside */
    int32_t end;    /* one beyond the last tap inside; == first when none is */
} wh_window;

static inline wh_window wh_window_at(int32_t position, int32_t stride, int32_t pad,
                                     int32_t dilation, int32_t taps, int32_t size)
{
    wh_window window;
    window.origin = position * stride - pad;
    window.first = window.origin >= 0 ? 0 : (dilation - 1 - window.origin) / dilation;
    int32_t room = size - window.origin;
    window.end = room <= 0 ? 0 : (room + dilation - 1) / dilation;
    if (window.end > taps) {
        window.end = taps;
    }
    if (window.end < window.first) {
        window.end = window.first;
    }
    return window;
}

#endif
