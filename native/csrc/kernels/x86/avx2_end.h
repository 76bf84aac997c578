/* The last line of a file that includes avx2.h: clang wants its end where gcc takes the file's. */

#if defined(__clang__)
#pragma clang attribute pop
#endif
