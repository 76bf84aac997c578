"""What an operator does with model files: package, sign, verify, extract, inspect, run.

Bundles in, bundles out; files are read and written by the command line alone.
"""
