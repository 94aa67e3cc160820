"""Models as people write them, one a file: each is exported, loaded and streamed by `python -m examples.architectures NAME`."""
