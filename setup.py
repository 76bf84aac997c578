"""The compiled parts of the distribution; everything else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    cffi_modules=["native/wherry_native/_engine_build.py:ffibuilder"],
    ext_modules=[
        Extension(
            "wherry_protocol.codec._quick",
            [f"protocol/csrc/{name}.c" for name in ("module", "reading", "writing", "wire")],
            depends=["protocol/csrc/kind.h", "protocol/csrc/wire.h"],
            libraries=["m"],
            extra_compile_args=["-std=c11", "-O2", "-g0", "-fvisibility=hidden"],
            py_limited_api=True,
        ),
        Extension(
            "wherry_protocol._frozen",
            ["protocol/csrc/frozen.c"],
            extra_compile_args=["-std=c11", "-O2", "-g0", "-fvisibility=hidden"],
            py_limited_api=True,
        ),
    ],
    # All bindings use Python's stable ABI: one wheel for 3.11 and everything after it.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
