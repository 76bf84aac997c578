/* Everything behind this include is compiled for AVX-512 VNNI, and run only where the processor has
 * it; or, where a test asks for it, by SIMDe for any x86-64 with AVX2. */

#ifndef WHERRY_KERNELS_AVX512_H
#define WHERRY_KERNELS_AVX512_H

#if defined(WHERRY_SIMDE)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include "simde_lacks.h"
#elif defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512vnni"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512vnni")
#endif

#include <immintrin.h>

#endif
