/* The kernel tables of x86-64. Whoever takes one has asked the processor before. */

#ifndef WHERRY_KERNELS_X86_TABLES_H
#define WHERRY_KERNELS_X86_TABLES_H

struct wh_kernels;

const struct wh_kernels *wh_avx2_kernels(void);
const struct wh_kernels *wh_avx512vnni_kernels(void);

#endif
