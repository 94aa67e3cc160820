"""What the machine answers: one integer a call, 0 when all went well."""

from __future__ import annotations

OK = 0
INDEX = 1  # an index or a length is outside what it indexes
BUSY = 2  # another thread is inside this executor
SIZE = 3  # an array does not have the size that the program wants
INVALID = 4  # an input holds NaN or Inf; nothing was changed
KIND = 5  # an array is not contiguous float32 of the right rank (or not writable); nothing was done
