"""Handlers of ONNX operators, one file per family; `registry.py` finds them."""
