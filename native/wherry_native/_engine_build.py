"""Builds `wherry_native._engine`, the cffi binding (API mode) of native/csrc. Build time only."""

from pathlib import Path

from cffi import FFI

CSRC = Path("native/csrc")

DECLARATIONS = """
typedef struct { uint16_t part; uint32_t index; } wh_location;
typedef struct { uint64_t macs; uint32_t image_size; uint32_t arena_size; uint16_t node_count;
                 uint16_t input_count; uint16_t output_count; uint16_t state_count;
                 uint32_t name; ...; } wh_program_header;
typedef struct { uint8_t dtype; uint8_t rank; int32_t zero_point; uint32_t scale_bits;
                 uint32_t size; uint32_t dims[5]; uint32_t name; ...; } wh_tensor;
typedef struct { uint16_t op; uint32_t name; ...; } wh_node;
typedef struct { const wh_program_header *header; const wh_tensor *tensors; const wh_node *nodes;
                 ...; } wh_program;
#define WH_ENGINE_ABI ...
#define WH_ERR_TRUNCATED ...
#define WH_PROGRAM_FORMAT ...
const char *wh_error_name(int status);
const char *wh_op_name(uint32_t op);
const char *wh_name(const wh_program *program, uint32_t offset);
const wh_tensor *wh_input(const wh_program *program, uint32_t index);
const wh_tensor *wh_output(const wh_program *program, uint32_t index);

typedef struct wh_runner wh_runner;
int wh_runner_create(const void *image, size_t image_size, wh_runner **runner, wh_location *where);
void wh_runner_free(wh_runner *runner);
const wh_program *wh_runner_program(const wh_runner *runner);
int wh_runner_infer(wh_runner *runner, const uint8_t *input, size_t input_size, uint8_t *output,
                    size_t output_size);
int wh_runner_reset(wh_runner *runner);
size_t wh_input_bytes(const wh_program *program);
size_t wh_output_bytes(const wh_program *program);
"""

ffibuilder = FFI()
ffibuilder.cdef(DECLARATIONS)
ffibuilder.set_source(
    "wherry_native._engine",
    '#include "wherry/engine.h"\n#include "wherry/histogram.h"\n#include "wherry/host.h"\n',
    sources=sorted(str(path) for path in CSRC.glob("*/*.c")),
    depends=sorted(str(path) for path in CSRC.rglob("*.h")),
    include_dirs=[str(CSRC / "include")],
    libraries=["pthread"],
    extra_compile_args=["-std=c11", "-O3", "-ffp-contract=off", "-Wall", "-Wextra"],
)
