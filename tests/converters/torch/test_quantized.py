"""Live modules that PyTorch quantized dynamically, beside PyTorch itself."""

import warnings

import numpy as np
import pytest

from edgelstm.errors import InputError
from edgelstm.runtime.model import Model

torch = pytest.importorskip("torch")

from edgelstm_converters.torch.quantized import load_quantized_module  # noqa: E402


class Net(torch.nn.Module):
    def __init__(self, kind, bidirectional=False, layers=1):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = kind(6, 20, layers, batch_first=True, bidirectional=bidirectional)
        self.head = torch.nn.Linear(40 if bidirectional else 20, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


def quantized(net):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(net, {torch.nn.LSTM, torch.nn.GRU, torch.nn.Linear})


@pytest.mark.parametrize("options", [{}, {"layers": 2}, {"bidirectional": True}])
@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU])
def test_integers_and_results(kind, options):
    net = Net(kind, **options).eval()
    small = quantized(net)
    graph = load_quantized_module(small).graph
    assert all(node.attrs["int8"] for node in graph.nodes if "int8" in node.attrs)
    assert {array.dtype.name for array in graph.constants.values() if array.ndim > 1 and array.size > 64} >= {"int8"}
    x = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want, theirs = net(x).numpy(), small(x).numpy()
    got = Model(graph).predict(x.numpy())
    assert np.abs(got - want).max() <= max(1.5 * np.abs(theirs - want).max(), 5e-3)
    head = small.head.weight().int_repr().numpy()
    assert any(array.shape == head.shape and np.array_equal(array, head) for array in graph.constants.values())


def test_a_module_in_float_is_refused():
    with pytest.raises(InputError, match="no dynamically quantized layer"):
        load_quantized_module(Net(torch.nn.LSTM))
