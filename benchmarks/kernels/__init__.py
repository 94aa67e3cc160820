"""Each kernel alone, timed by pytest-benchmark against this machine's own baseline: `make bench-kernels`."""
