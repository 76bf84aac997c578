/* A target with an operating system: text goes to stdout. */

#include <stdio.h>

#include "target.h"

void wh_write(const char *text)
{
    fputs(text, stdout);
}

int main(void)
{
    wh_run_vectors();
    return 0;
}
