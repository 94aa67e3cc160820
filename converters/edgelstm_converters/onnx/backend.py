"""edgelstm as an ONNX backend, so that onnx's own test runner can drive it.

    from onnx.backend.test import BackendTest
    BackendTest(edgelstm_converters.onnx.backend, __name__)

The node tests feed weights, axes and sizes as inputs, where edgelstm wants constants: inputs that only serve as
weights of recurrent nodes, and where that is not enough all but the first, are taken as constants when a model is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto
from onnx.backend.base import Backend, BackendRep

from edgelstm.errors import EdgeLSTMError, UnsupportedError
from edgelstm.runtime.model import Model
from edgelstm_converters.onnx import load_onnx

_WEIGHTS = {"RNN": (1, 2, 3), "GRU": (1, 2, 3), "LSTM": (1, 2, 3, 7)}


class EdgeLSTMRep(BackendRep):
    """A prepared model.

    Args:
        model: any model that `load_onnx` takes.
    """

    def __init__(self, model: ModelProto) -> None:
        super().__init__()
        self._proto = model
        self._weights = _weight_inputs(model)
        self._model: Model | None = None
        if not self._weights:
            try:
                self._model = Model(load_onnx(model).graph)
            except UnsupportedError:
                self._weights = [entry.name for entry in model.graph.input][1:]
                if not self._weights:
                    raise

    def run(self, inputs: Any, **_: Any) -> tuple[Any, ...]:
        """All outputs, in order.

        Args:
            inputs: arrays in the order of the model's inputs, or by name.

        Raises:
            EdgeLSTMError: the model or an input is refused.
        """
        names = [entry.name for entry in self._proto.graph.input]
        feeds = dict(inputs) if isinstance(inputs, dict) else dict(zip(names, inputs, strict=False))
        model = self._model
        if model is None:
            constants = {name: np.asarray(feeds.pop(name)) for name in self._weights}
            model = Model(load_onnx(self._proto, constants=constants).graph)
        results = model.run(feeds)
        return tuple(results[entry.name] for entry in self._proto.graph.output)


class EdgeLSTMBackend(Backend):
    """The entry points of `onnx.backend.base.Backend`."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **_: Any) -> bool:
        """Whether the model can be prepared."""
        try:
            cls.prepare(model, device)
        except EdgeLSTMError:
            return False
        return True

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **_: Any) -> EdgeLSTMRep:
        """A model ready to run.

        Raises:
            EdgeLSTMError: the model is refused, or the device is not the CPU.
        """
        if not cls.supports_device(device):
            raise EdgeLSTMError(f"device {device!r}: edgelstm runs on the CPU only")
        return EdgeLSTMRep(model)

    @classmethod
    def run_node(cls, node: NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **_: Any) -> Any:
        """Not offered: a node alone has no opset version."""
        raise NotImplementedError("make a model of the node and use run_model")

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Only the CPU."""
        return device.split(":", maxsplit=1)[0] == "CPU"


def _weight_inputs(model: ModelProto) -> Sequence[str]:
    """Inputs of the graph that serve only as weights of recurrent nodes."""
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry.name for entry in model.graph.input if entry.name not in given]
    weights: set[str] = set()
    others: set[str] = set()
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            (weights if index in _WEIGHTS.get(node.op_type, ()) else others).add(name)
    return [name for name in inputs if name in weights and name not in others]


prepare = EdgeLSTMBackend.prepare
run_model = EdgeLSTMBackend.run_model
supports_device = EdgeLSTMBackend.supports_device
is_compatible = EdgeLSTMBackend.is_compatible

__all__ = ["EdgeLSTMBackend", "EdgeLSTMRep", "is_compatible", "prepare", "run_model", "supports_device"]
