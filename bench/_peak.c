/* The exact AVX2 peak: 16-bit multiply-accumulates by vpmaddwd and vpaddd from registers, twelve
 * sums at once, as the kernels keep them.
 *
 * usage: _peak ROUNDS. Prints the median of so many rounds in GMAC/s. */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS_MAX 1000
#define LOOPS 20000L
#define MACS (12.0 * 16.0)
#define SUM(n) "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n vpaddd %%ymm13, %%ymm" #n ", %%ymm" #n "\n"

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double rate(void)
{
    long loops = LOOPS;
    double start = now_ns();
    __asm__ volatile("1:\n" SUM(0) SUM(1) SUM(2) SUM(3) SUM(4) SUM(5) SUM(6) SUM(7) SUM(8) SUM(9)
                         SUM(10) SUM(11) "dec %0\n jnz 1b\n"
                     : "+r"(loops)
                     :
                     : "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8",
                       "ymm9", "ymm10", "ymm11", "ymm12", "ymm13", "ymm14", "ymm15", "cc");
    return (double)LOOPS * MACS / (now_ns() - start);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 0;
    static double rates[ROUNDS_MAX];
    if (rounds < 1 || rounds > ROUNDS_MAX) {
        return 2;
    }
    for (int i = 0; i < rounds; i++) {
        rates[i] = rate();
    }
    qsort(rates, (size_t)rounds, sizeof rates[0], by_value);
    printf("%.2f\n", rates[rounds / 2]);
    return 0;
}
