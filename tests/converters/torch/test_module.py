"""Live modules, in float and quantized dynamically, beside PyTorch itself."""

import warnings

import numpy as np
import pytest

import edgelstm
from edgelstm.errors import UnsupportedError

torch = pytest.importorskip("torch")


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
    model = edgelstm.from_module(small)
    graph = model.graph
    assert all(node.attrs["int8"] for node in graph.nodes if "int8" in node.attrs)
    assert {array.dtype.name for array in graph.constants.values() if array.ndim > 1 and array.size > 64} >= {"int8"}
    x = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want, theirs = net(x).numpy(), small(x).numpy()
    got = model.predict(x.numpy())
    assert np.abs(got - want).max() <= max(1.5 * np.abs(theirs - want).max(), 5e-3)
    head = small.head.weight().int_repr().numpy()
    assert any(array.shape == head.shape and np.array_equal(array, head) for array in graph.constants.values())


def test_a_module_in_float_is_its_state_dict():
    net = Net(torch.nn.GRU).eval()
    arrays = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    assert edgelstm.load(net).hash == edgelstm.from_arrays(arrays).hash


def test_load_takes_a_live_module():
    small = quantized(Net(torch.nn.LSTM).eval())
    model = edgelstm.load(small)
    assert model.graph.scales
    assert model.hash == edgelstm.from_module(small).hash


@pytest.mark.parametrize("kinds", [{torch.nn.LSTM}, {torch.nn.Linear}, {torch.nn.LSTM, torch.nn.Linear}])
@pytest.mark.parametrize("whole", [False, True])
def test_what_a_quantized_module_saves_is_refused_with_advice(kinds, whole, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = torch.ao.quantization.quantize_dynamic(Net(torch.nn.LSTM).eval(), kinds)
        torch.save(small if whole else small.state_dict(), tmp_path / "q.pt")
    with pytest.raises(
        UnsupportedError, match=r"q\.pt: .* quantized by PyTorch .* pass the module itself to edgelstm\.load"
    ):
        edgelstm.load(tmp_path / "q.pt")


def test_other_kinds_of_quantized_weights_are_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small = torch.nn.Sequential(torch.ao.quantization.QuantStub(), torch.nn.Linear(6, 4)).eval()
        small.qconfig = torch.ao.quantization.get_default_qconfig("x86")
        torch.ao.quantization.prepare(small, inplace=True)
        small(torch.randn(5, 6))
        torch.ao.quantization.convert(small, inplace=True)
    with pytest.raises(UnsupportedError, match="0 is a statically quantized Quantize"):
        edgelstm.load(small)
