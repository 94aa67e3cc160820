"""8-bit weights and activations: the scheme, what to quantize, and what it costs in accuracy.

See docs/quantization.md. The package is called so because `edgelstm.quantize` is the function.
"""
