"""What every side of Wherry agrees on: messages, topics, manifests, signatures, sketches, frames.

Pure: no clock, no socket, no file. `docs/SPEC.md` describes every byte that is made here.
"""
