"""The command line: one module per group of commands, each parse → ask → show.

`app` gathers the groups, `output` shows results and errors. Nothing here decides anything.
"""
