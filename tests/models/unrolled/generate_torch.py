"""Writes the torch_*.onnx files beside it, and torch.npz with inputs and the modules' own outputs.

python generate_torch.py (torch 2.13, onnxscript). `dynamo` unrolls nn.RNN at the traced length; cells are unrolled by
the module that steps them. What a file says of the machine that wrote it (stack traces) is taken out.
"""

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

HERE = Path(__file__).parent
STEPS, FEATURES, UNITS = 7, 3, 4


class Last(nn.Module):
    """The last step's output through a Linear."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.linear = layer, nn.Linear(UNITS, 2)

    def forward(self, x):
        return self.linear(self.layer(x)[0][:, -1])


class Whole(nn.Module):
    """Everything that the layer gives."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, *inputs):
        return self.layer(*inputs)


class Stepped(nn.Module):
    """A cell stepped by hand."""

    def __init__(self, cell, last=False, backward=False):
        super().__init__()
        self.cell, self.last, self.backward = cell, last, backward

    def forward(self, x):
        h = torch.zeros(x.shape[0], UNITS)
        state, outputs = (h, h), []
        steps = range(x.shape[1])
        for t in reversed(steps) if self.backward else steps:
            if isinstance(self.cell, nn.LSTMCell):
                state = self.cell(x[:, t], state)
            else:
                state = (self.cell(x[:, t], state[0]),)
            outputs.append(state[0])
        if self.last:
            return state[0]
        return torch.stack(outputs[::-1] if self.backward else outputs, 1)


class OneStep(nn.Module):
    """One step of a cell, its state in and out."""

    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x, *state):
        return self.cell(x, state if len(state) > 1 else state[0])


def cases():
    """Name → module, its inputs, exporters."""
    x, h = torch.randn(2, STEPS, FEATURES), torch.randn(1, 2, UNITS)
    one, state = torch.randn(2, FEATURES), torch.randn(2, UNITS)
    both = ("dynamo", "torchscript")
    return {
        "rnn_last": (Last(nn.RNN(FEATURES, UNITS, batch_first=True)), (x,), ("dynamo",)),
        "rnn_relu": (
            Whole(nn.RNN(FEATURES, UNITS, nonlinearity="relu")),
            (x.transpose(0, 1).contiguous(),),
            ("dynamo",),
        ),
        "rnn_stacked": (Whole(nn.RNN(FEATURES, UNITS, num_layers=2, batch_first=True)), (x,), ("dynamo",)),
        "rnn_both_ways": (Whole(nn.RNN(FEATURES, UNITS, bidirectional=True, batch_first=True)), (x,), ("dynamo",)),
        "rnn_h0": (Whole(nn.RNN(FEATURES, UNITS, batch_first=True)), (x, h), ("dynamo",)),
        "lstm_cell": (Stepped(nn.LSTMCell(FEATURES, UNITS)), (x,), both),
        "gru_cell_last": (Stepped(nn.GRUCell(FEATURES, UNITS), last=True), (x,), both),
        "rnn_cell_backward": (Stepped(nn.RNNCell(FEATURES, UNITS), backward=True), (x,), both),
        "lstm_step": (OneStep(nn.LSTMCell(FEATURES, UNITS)), (one, state, torch.randn(2, UNITS)), both),
        "gru_step": (OneStep(nn.GRUCell(FEATURES, UNITS)), (one, state), both),
        "rnn_step": (OneStep(nn.RNNCell(FEATURES, UNITS)), (one, state), both),
        "lstm_step_nobias": (OneStep(nn.LSTMCell(FEATURES, UNITS, bias=False)), (one, state, state + 1), ("dynamo",)),
    }


def export(module, inputs, exporter, path):
    if exporter == "torchscript":
        torch.onnx.export(module, inputs, path, dynamo=False)
    else:
        torch.onnx.export(module, inputs, path, dynamo=True, external_data=False, verbose=False)
    model = onnx.load(path)
    for node in model.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    del model.graph.value_info[:]
    onnx.save(model, path)


def main():
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    arrays = {}
    for name, (module, inputs, exporters) in cases().items():
        module.eval()
        with torch.no_grad():
            outputs = module(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        arrays |= {f"{name}/in{k}": value.numpy() for k, value in enumerate(inputs)}
        arrays |= {f"{name}/out{k}": value.numpy() for k, value in enumerate(outputs)}
        for exporter in exporters:
            export(module, inputs, exporter, HERE / f"torch_{name}.{exporter}.onnx")
    np.savez_compressed(HERE / "torch.npz", **arrays)


if __name__ == "__main__":
    main()
