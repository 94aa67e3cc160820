"""Models as people write them, one a file. `python -m examples.architectures NAME` exports, loads and streams one."""
