"""PyTorch modules of many kinds, exported here: a stream gives, step by step, what PyTorch gives for the whole."""

import logging
import warnings

import numpy as np
import pytest

import edgelstm
from edgelstm.errors import StreamError
from tests.support import require_module

torch = require_module("torch")
nn, functional = torch.nn, torch.nn.functional

TIME, FEATURES, TOLERANCE = 15, 6, 1e-5


class GatedResiduals(nn.Module):
    """As WaveNet's: two convolutions share one padding, gates look like a cell's."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(FEATURES, 8, 1)
        self.filters = nn.ModuleList(nn.Conv1d(8, 8, 2, dilation=d) for d in (1, 2, 4))
        self.gates = nn.ModuleList(nn.Conv1d(8, 8, 2, dilation=d) for d in (1, 2, 4))
        self.last = nn.Conv1d(8, 3, 1)

    def forward(self, x):
        h, total = self.first(x.transpose(1, 2)), 0
        for d, f, g in zip((1, 2, 4), self.filters, self.gates, strict=True):
            padded = functional.pad(h, (d, 0))
            z = torch.tanh(f(padded)) * torch.sigmoid(g(padded))
            total, h = total + z, h + z
        return self.last(functional.relu(total)).transpose(1, 2)


class PaddedInTime(nn.Module):
    """Zeros in front before time and features change places."""

    def __init__(self):
        super().__init__()
        self.conv, self.cell = nn.Conv1d(FEATURES, 5, 3), nn.LSTM(5, 4, batch_first=True)

    def forward(self, x):
        return self.cell(self.conv(functional.pad(x, (0, 0, 2, 0)).transpose(1, 2)).transpose(1, 2))[0]


class SentenceConvolutions(nn.Module):
    """Kernels of 2, 3 and 4 steps, the largest of each over time."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(FEATURES, 4, k) for k in (2, 3, 4))
        self.head = nn.Linear(12, 2)

    def forward(self, x):
        x = x.transpose(1, 2)
        return self.head(torch.cat([functional.relu(conv(x)).max(2)[0] for conv in self.convs], 1))


class Spectrogram(nn.Module):
    """Causal in time, strided over frequencies, then a GRU."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, (3, 3), stride=(1, 2), padding=(0, 1))
        self.cell, self.head = nn.GRU(12, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x):
        h = functional.relu(self.conv(functional.pad(x.unsqueeze(1), (0, 0, 2, 0))))
        return self.head(self.cell(h.permute(0, 2, 1, 3).flatten(2))[0])


class Pooled(nn.Module):
    """Everything that sums over time, side by side."""

    def __init__(self):
        super().__init__()
        self.cell, self.pool, self.head = nn.LSTM(FEATURES, 5, batch_first=True), nn.AdaptiveAvgPool1d(1), None

    def forward(self, x):
        h = self.cell(x)[0]
        average = self.pool(h.transpose(1, 2)).squeeze(-1)
        spread = torch.sqrt(((h - h.mean(1, keepdim=True)) ** 2).mean(1) + 1e-3)
        return torch.cat([average, h.amax(1), h[:, -1], spread, h.mean((1, 2)).unsqueeze(1)], 1)


class LastAgainstAll(nn.Module):
    """The last state asks all outputs (Luong's attention)."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTM(FEATURES, 5, batch_first=True), nn.Linear(10, 3)

    def forward(self, x):
        h, (last, _) = self.cell(x)
        weights = functional.softmax(torch.bmm(h, last[-1].unsqueeze(2)).squeeze(2), 1)
        context = torch.bmm(h.transpose(1, 2), weights.unsqueeze(2)).squeeze(2)
        return self.head(torch.cat([context, last[-1]], 1))


class NearAttention(nn.Module):
    """Causal attention over the last four steps, scores falling with distance."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(FEATURES, 4) for _ in range(3))

    def forward(self, x):
        steps = torch.arange(x.shape[1])
        distance = (steps[:, None] - steps[None]).float()
        hidden = (distance < 0) | (distance > 3)
        scores = self.q(x) @ self.k(x).transpose(1, 2) - 0.25 * distance
        return scores.masked_fill(hidden, float("-inf")).softmax(-1) @ self.v(x)


class Strided(nn.Module):
    """An output at every fourth reading."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv1d(FEATURES, 8, 4, stride=2), nn.MaxPool1d(2)
        self.cell = nn.LSTM(8, 5, batch_first=True)

    def forward(self, x):
        return self.cell(self.pool(functional.gelu(self.conv(x.transpose(1, 2)))).transpose(1, 2))[0]


class Frames(nn.Module):
    """A convolution over each frame, merged with the batch."""

    def __init__(self):
        super().__init__()
        self.conv, self.cell = nn.Conv2d(1, 3, 3, stride=2), nn.GRU(12, 5, batch_first=True)

    def forward(self, x):
        rows, steps, channels, height, width = x.size()
        h = functional.relu(self.conv(x.reshape(rows * steps, channels, height, width)))
        return self.cell(h.reshape(rows, steps, 12))[0]


def export(module, x, how, path):
    """how: "free" and "fixed" by the exporter of old, "dynamo" and "dynamo fixed" by the new one."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    more = {}
    if how == "free":
        more = {"dynamic_axes": {"x": {0: "batch", 1: "time"}}}
    elif how == "dynamo":
        free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("time", min=2, max=60)}
        more = {"dynamic_shapes": (free,)}
    if how.startswith("dynamo"):
        require_module("onnxscript")
        more |= {"dynamo": True, "external_data": False, "verbose": False}
    else:
        more |= {"dynamo": False, "input_names": ["x"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x.repeat(1 if "fixed" in how else 2, *[1] * (x.dim() - 1)),), path, **more)


def made(kind):
    torch.manual_seed(0)
    x = torch.randn(1, TIME, 1, 6, 6) if kind is Frames else torch.randn(1, TIME, FEATURES)
    return kind().eval(), x


def whole(module, x):
    with torch.no_grad():
        return module(x).numpy()


CASES = [
    *((kind, "free") for kind in (GatedResiduals, PaddedInTime, SentenceConvolutions, Spectrogram, Pooled)),
    *((kind, "free") for kind in (LastAgainstAll, NearAttention, Strided, Frames)),
    *((kind, "fixed") for kind in (GatedResiduals, Frames)),
    *((kind, "dynamo") for kind in (Pooled,)),
    *((kind, "dynamo fixed") for kind in (Strided, Spectrogram)),
]


@pytest.mark.parametrize(("kind", "how"), CASES)
def test_streams_give_what_pytorch_gives(kind, how, tmp_path):
    module, x = made(kind)
    path = tmp_path / "model.onnx"
    export(module, x, how, path)
    model = edgelstm.load(path)
    want = whole(module, x)
    np.testing.assert_allclose(model.predict(x.numpy()), want, rtol=0, atol=TOLERANCE)
    stream = model.stream()
    rows = [stream.step(reading) for reading in x[0].numpy()]
    assert [t for t, row in enumerate(rows) if row is not None] == list(range(stream.latency, TIME, stream.stride))
    given = [(t, np.squeeze(row)) for t, row in enumerate(rows) if row is not None]
    if want.ndim == 3:
        assert len(given) == want.shape[1]
        np.testing.assert_allclose([row for _, row in given], want[0], rtol=0, atol=TOLERANCE)
    else:
        for t, row in given:
            np.testing.assert_allclose(row, whole(module, x[:, : t + 1])[0], rtol=0, atol=TOLERANCE)


class Baked(nn.Module):
    """Adds a table of positions that an exporter at a fixed length cuts to that length."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(FEATURES, 4, batch_first=True)
        self.register_buffer("table", torch.randn(1, 40, 4))

    def forward(self, x):
        return self.cell(x)[0] + self.table[:, : x.shape[1]]


def test_a_length_that_is_in_the_weights_is_refused_by_name(tmp_path):
    module, x = made(Baked)
    export(module, x, "dynamo fixed", tmp_path / "model.onnx")
    model = edgelstm.load(tmp_path / "model.onnx")
    np.testing.assert_allclose(model.predict(x.numpy()), whole(module, x), rtol=0, atol=TOLERANCE)
    with pytest.raises(
        StreamError, match=f"exactly {TIME} steps .*Reshape.*add node .* expected equal sizes, got T and"
    ):
        model.stream()
