/* All that the firmware's core may ask of a C library; stands in for one in the tests. */

#ifndef WHERRY_FREESTANDING_STRING_H
#define WHERRY_FREESTANDING_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *text);

#endif
