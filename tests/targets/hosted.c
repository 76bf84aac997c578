/* A target with an operating system: text goes to stdout, and the kernels are those that this
 * processor would choose, or that WHERRY_ENGINE_KERNELS names. */

#include <stdalign.h>
#include <stdio.h>

#include "target.h"
#include "wherry/host.h"

static alignas(WH_PREPARED_ALIGNMENT) unsigned char prepared[4u << 20];

void wh_write(const char *text)
{
    fputs(text, stdout);
}

wh_preparation wh_target_preparation(void)
{
    const struct wh_kernels *kernels = NULL;
    int status = wh_choose_kernels(NULL, &kernels);
    return (wh_preparation){status == WH_OK ? kernels : NULL, prepared, sizeof prepared};
}

int main(void)
{
    wh_run_vectors();
    return 0;
}
