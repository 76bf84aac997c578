"""The compiled part of the distribution; everything else is in pyproject.toml."""

from setuptools import setup

setup(cffi_modules=["native/wherry_native/_engine_build.py:ffibuilder"])
