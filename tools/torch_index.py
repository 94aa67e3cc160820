"""Prints the pip option that finds CPU builds of torch, where PyPI's build would bring gigabytes of CUDA along.

Prints nothing where it is not needed (macOS, Windows, ARM) or where the index cannot be reached.
"""

from __future__ import annotations

import platform
import urllib.request

INDEX = "https://download.pytorch.org/whl/cpu"


def main() -> None:
    """Asks the index once, with a short time limit."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return
    try:
        with urllib.request.urlopen(f"{INDEX}/torch/", timeout=5):
            print(f"--extra-index-url {INDEX}")
    except OSError:
        return


if __name__ == "__main__":
    main()
