"""The machine's kernels, one file a family; each takes the address of its row and of the arenas."""
