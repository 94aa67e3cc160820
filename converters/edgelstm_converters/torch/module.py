"""Live PyTorch modules: their weights, and of dynamically quantized layers the int8 weights as they are.

PyTorch's quantized recurrent modules are being removed, and their saved state dicts hold script objects that only
PyTorch can open. A module that still lives on the workstation hands over its integers and scales here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgelstm.errors import InputError, UnsupportedError
from edgelstm.graph.ir import Array, Graph
from edgelstm.graph.stored import MATRICES, channel_axes
from edgelstm_converters.arrays import ArraysImport, arrays_to_graph

_STATIC = "torch.ao.nn.quantized.modules"  # those that quantize_dynamic makes are in torch.ao.nn.quantized.dynamic


def load_module(module: Any, layers: Sequence[Mapping[str, Any]] | None = None) -> ArraysImport:
    """The model of a module in float, or of one made by `torch.ao.quantization.quantize_dynamic`.

    Args:
        module: a torch.nn.Module, read as its state dict would be; LSTM, GRU and Linear may be quantized dynamically.
        layers: the layers, as for `arrays_to_graph`; None infers them where one reading is left.

    Raises:
        InputError: the layers leave more than one reading, or a scale is not a finite number above 0; names it.
        UnsupportedError: quantized weights of another kind than int8 (float16 packs, quint8), or layers quantized
            statically.
    """
    arrays, scales = _weights(module)
    source = "a quantized module" if scales else "a module"
    made = arrays_to_graph(arrays, layers, "torch", source=source)
    if not scales:
        return made
    # The same way once more with each weight's scale in its place: it ends up where its weight does.
    twins = {name: np.broadcast_to(scales[name], array.shape) for name, array in arrays.items() if name in scales}
    twin = arrays_to_graph({**arrays, **twins}, layers, "torch").graph
    return ArraysImport(_restored(made.graph, twin), made.report)


def _weights(module: Any) -> tuple[dict[str, Array], dict[str, Array]]:
    """Every weight as floats by its name in a state dict, and the scales of those that were int8."""
    arrays: dict[str, Array] = {}
    scales: dict[str, Array] = {}
    for prefix, part in module.named_modules():
        start = f"{prefix}." if prefix else ""
        if type(part).__module__.startswith(_STATIC) and not type(part).__name__.endswith("PackedParams"):
            raise UnsupportedError(
                f"{prefix or 'the module'} is a statically quantized {type(part).__name__}; expected layers in float "
                "or from quantize_dynamic: export the module to ONNX and load that"
            )
        if hasattr(part, "get_weight") and hasattr(part, "get_bias"):
            found = {**part.get_weight(), **part.get_bias()}
        elif callable(getattr(part, "weight", None)):
            found = {"weight": part.weight(), "bias": part.bias()}
        else:
            found = dict(part.named_parameters(recurse=False))
        for name, tensor in found.items():
            if tensor is not None:
                arrays[start + name] = _floats(start + name, tensor, scales)
    return arrays, scales


def _floats(name: str, tensor: Any, scales: dict[str, Array]) -> Array:
    if not tensor.is_quantized:
        return np.asarray(tensor.detach().cpu().float().numpy())
    if str(tensor.dtype) != "torch.qint8":
        raise UnsupportedError(f"{name!r} is {tensor.dtype}; expected torch.qint8")
    integers = tensor.int_repr().numpy().astype(np.int64)
    if "channel" in str(tensor.qscheme()):
        shape = [-1] + [1] * (integers.ndim - 1)
        scale, zero = (
            part().numpy().reshape(shape) for part in (tensor.q_per_channel_scales, tensor.q_per_channel_zero_points)
        )
    else:
        scale, zero = np.asarray(tensor.q_scale()), np.asarray(tensor.q_zero_point())
    scale = scale.astype(np.float32)
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise InputError(f"{name!r} has the scale {float(scale.min())}; expected finite numbers above 0")
    values = (integers - zero).astype(np.float32) * scale
    if ((integers - zero) >= -128).all() and ((integers - zero) <= 127).all():
        scales[name] = scale
    return np.asarray(values, np.float32)


def _restored(graph: Graph, twin: Graph) -> Graph:
    constants, factors, nodes = dict(graph.constants), dict(graph.scales), list(graph.nodes)
    for index, node in enumerate(nodes):
        if node.op not in MATRICES:
            continue
        done = []
        for role, position in MATRICES[node.op].items():
            name = node.inputs[position] if position < len(node.inputs) else ""
            if name not in constants or name not in twin.constants or constants[name].dtype != np.float32:
                continue
            leading = channel_axes(node.op)
            scale = twin.constants[name].reshape(*constants[name].shape[:leading], -1)
            if not (scale > 0).all() or (scale != scale[..., :1]).any():
                continue
            kept = np.ascontiguousarray(scale[..., :1]).reshape(
                *scale.shape[:-1], *[1] * (constants[name].ndim - leading)
            )
            q = np.rint(constants[name] / kept)
            if np.array_equal((q * kept).astype(np.float32), constants[name]) and np.abs(q + 0.5).max() <= 127.5:
                constants[name], factors[name] = q.astype(np.int8), kept.astype(np.float32)
                done.append(role)
        nodes[index] = replace(node, attrs={**node.attrs, "int8": tuple(done)})
    return replace(graph, constants=constants, scales=factors, nodes=tuple(nodes))
