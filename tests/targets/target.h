/* What a target gives the vectors: a place to write text, and a way to end. */

#ifndef WHERRY_TESTS_TARGET_H
#define WHERRY_TESTS_TARGET_H

/* Runs every program and writes what came of it. */
void wh_run_vectors(void);

void wh_write(const char *text);

#endif
