"""Translate models of other tools into edgelstm Graphs: the heavy, workstation side.

`onnx` reads ONNX files; `layers` builds a Graph from arrays of weights; `torch` reads PyTorch files.
"""
