/* Which kernels this processor can run, and which of them shall.
 *
 * A build with WH_PORTABLE_ONLY needs no file of kernels/x86 or kernels/arm. */

#include <stdlib.h>
#include <string.h>

#include "../kernels/arm/tables.h"
#include "../kernels/x86/tables.h"
#include "wherry/host.h"

#if defined(__aarch64__) && !defined(WH_PORTABLE_ONLY)
#define WITH_ARM
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__x86_64__) && !defined(WH_PORTABLE_ONLY)
#define WITH_X86
#endif

typedef struct {
    const struct wh_kernels *(*table)(void);
    int (*is_runnable)(void);
} candidate;

static int always(void)
{
    return 1;
}

#if defined(WITH_ARM)
static int has_dot_product(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
}
#endif

#if defined(WITH_X86)
static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512vnni(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}
#endif

/* The fastest first. */
static const candidate candidates[] = {
#if defined(WITH_ARM)
    {wh_neondot_kernels, has_dot_product},
    {wh_neon_kernels, always},
#endif
#if defined(WITH_X86)
    {wh_avx512vnni_kernels, has_avx512vnni},
    {wh_avx2_kernels, has_avx2},
#endif
    {wh_portable_kernels, always},
};

const struct wh_kernels *wh_kernels_at(uint32_t index)
{
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        if (candidates[i].is_runnable() && index-- == 0) {
            return candidates[i].table();
        }
    }
    return NULL;
}

static const struct wh_kernels *named(const char *name)
{
    const struct wh_kernels *kernels = NULL;
    for (uint32_t i = 0; (kernels = wh_kernels_at(i)) != NULL; i++) {
        if (strcmp(wh_kernels_name(kernels), name) == 0) {
            break;
        }
    }
    return kernels;
}

int wh_choose_kernels(const char *name, const struct wh_kernels **kernels)
{
    const char *wanted = name != NULL ? name : getenv(WH_KERNELS_VARIABLE);
    *kernels = wanted == NULL || *wanted == '\0' ? wh_kernels_at(0) : named(wanted);
    return *kernels != NULL ? WH_OK : WH_ERR_KERNELS;
}
