"""The GRU of the textbooks (Chung et al. 2014, equations 5 to 8) is the same cell with the z rows negated."""

import numpy as np
from edgelstm_converters.arrays import arrays_to_graph

from tests.converters.evaluate import evaluate


def chung(x, wz, uz, wr, ur, w, u):
    """h' = (1 - z) h + z n, no biases, and the reset gate acts on h before the product."""
    h, ys = np.zeros((x.shape[0], uz.shape[0])), []
    for t in range(x.shape[1]):
        z = 1 / (1 + np.exp(-(x[:, t] @ wz.T + h @ uz.T)))
        r = 1 / (1 + np.exp(-(x[:, t] @ wr.T + h @ ur.T)))
        n = np.tanh(x[:, t] @ w.T + (r * h) @ u.T)
        h = (1 - z) * h + z * n
        ys.append(h)
    return np.stack(ys, 1)


def test_negating_z_gives_the_textbook_cell():
    rng = np.random.default_rng(0)
    wz, wr, w = rng.normal(0, 0.8, (3, 5, 2)).astype(np.float32)
    uz, ur, u = rng.normal(0, 0.8, (3, 5, 5)).astype(np.float32)
    x = rng.standard_normal((2, 7, 2)).astype(np.float32)
    arrays = {"cell.weight_ih": np.concatenate([wr, -wz, w]), "cell.weight_hh": np.concatenate([ur, -uz, u])}
    layers = [{"kind": "gru_cell", "arrays": "cell", "linear_before_reset": False}]
    y = evaluate(arrays_to_graph(arrays, layers).graph, x)
    np.testing.assert_allclose(y, chung(x, wz, uz, wr, ur, w, u), rtol=0, atol=1e-6)
