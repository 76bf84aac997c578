"""The compiled part of the distribution; everything else is in pyproject.toml."""

from setuptools import setup

setup(
    cffi_modules=["native/wherry_native/_engine_build.py:ffibuilder"],
    # The binding uses Python's stable ABI: one wheel for 3.11 and everything after it.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
