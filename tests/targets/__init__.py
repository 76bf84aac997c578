"""One set of vectors on every target that the engine is built for: the same bytes everywhere."""
