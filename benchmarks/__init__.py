"""Measurements against other engines. Threads of BLAS and OpenMP are set to one before anything loads them."""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
