/* Time, processor time and cycles of the calling thread. */

#ifndef WHERRY_HOST_CLOCKS_H
#define WHERRY_HOST_CLOCKS_H

#include <stdint.h>
#include <time.h>

static inline uint64_t wh_clock_ns(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) != 0) {
        return 0;
    }
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline struct timespec wh_timespec(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

/* Ticks of the time-stamp counter; 0 where the processor gives none to programs. */
static inline uint64_t wh_cycles(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return 0;
#endif
}

#endif
