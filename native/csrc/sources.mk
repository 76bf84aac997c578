# The engine's C files, relative to this folder. Include path: include.
# Core, kernels and histogram are freestanding C99 (memcpy and memset only) and go into any
# firmware; host is C11 with POSIX threads.
WHERRY_ENGINE_SOURCES := \
	core/check_elements.c \
	core/check_graph.c \
	core/check_layers.c \
	core/check_movement.c \
	core/check_node.c \
	core/load.c \
	core/names.c \
	core/prepare.c \
	core/run.c \
	histogram/histogram.c \
	kernels/conv_2d.c \
	kernels/depthwise_conv_2d.c \
	kernels/elementwise.c \
	kernels/fully_connected.c \
	kernels/layers_16.c \
	kernels/mean.c \
	kernels/movement.c \
	kernels/pool_2d.c \
	kernels/portable.c \
	kernels/selection.c \
	kernels/softmax.c \
	kernels/tables_16.c \
	kernels/transpose_conv.c

WHERRY_ENGINE_CFLAGS := -std=c99 -O3 -ffp-contract=off -Wall -Wextra -Wconversion -Werror
