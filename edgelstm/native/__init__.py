"""Ahead of time: a folder with a library, a C header, a loader and proofs, for a machine that has no compiler."""
