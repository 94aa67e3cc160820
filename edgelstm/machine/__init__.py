"""The jitted machine: one compiled function interprets any program. numba is imported only below here."""
