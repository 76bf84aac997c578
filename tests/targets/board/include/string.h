/* All that the engine takes from a C library; board.c has it. */

#ifndef WHERRY_TESTS_BOARD_STRING_H
#define WHERRY_TESTS_BOARD_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int value, size_t size);

#endif
