/* The kernel tables of aarch64. Whoever takes one has asked the processor before. */

#ifndef WHERRY_KERNELS_ARM_TABLES_H
#define WHERRY_KERNELS_ARM_TABLES_H

struct wh_kernels;

/* Every aarch64 processor has what this one needs. */
const struct wh_kernels *wh_neon_kernels(void);

/* For processors with the dot product of Armv8.2 (HWCAP_ASIMDDP). */
const struct wh_kernels *wh_neondot_kernels(void);

#endif
