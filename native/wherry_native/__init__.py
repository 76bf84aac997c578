"""The fixed-point engine (C99 in `native/csrc`), its binding, and the model compiler.

`engine` runs programs, `loop` serves them, `program` is their format, `compiler` makes them (the
extra, not on devices).
"""
