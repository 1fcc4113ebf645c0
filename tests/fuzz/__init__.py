"""Mutated label files: each is parsed, with every vote that still stands in it, or refused with file, line and text.

`python -m tests.fuzz --seconds 120`. A corpus takes part by a `Target`: how to write a small one, how to load its
votes, and how to judge what was loaded from a mutated file; `__main__` lists them.
"""
