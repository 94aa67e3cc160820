"""Makes `weights.npz` and `golden.npz` here from those of the textgenrnn model: only its commonest characters stay.

    python tests/models/textgenrnn/reduce.py FOLDER

FOLDER holds `weights_keras.npz` (the weights that textgenrnn 2.0.0 ships, as arrays) and `golden.npz` (its inputs
and outputs). Of the 465 characters, which are ordered by how common they are, the first 64 stay: rows of the
embedding and columns of the output. The texts use no others, nor does what the model goes on with. Nothing else
changes.
"""

import sys
from pathlib import Path

import numpy as np

CHARACTERS = 64
KEPT = ("token_ids", "texts", "rnn1_seq", "rnn2_seq", "rnn1_last", "rnn2_last", "attention", "greedy_24")


def reduce(weights, golden):
    """The smaller weights and golden arrays."""
    if golden["token_ids"].max() >= CHARACTERS:
        raise ValueError(f"the texts use characters beyond the first {CHARACTERS}")
    small = {
        **weights,
        "embedding": weights["embedding"][:CHARACTERS],
        "output_kernel": weights["output_kernel"][:, :CHARACTERS],
        "output_bias": weights["output_bias"][:CHARACTERS],
    }
    return small, {**{name: golden[name] for name in KEPT}, "logits": golden["logits"][:, :CHARACTERS]}


if __name__ == "__main__":
    folder, here = Path(sys.argv[1]), Path(__file__).parent
    made = reduce(dict(np.load(folder / "weights_keras.npz")), dict(np.load(folder / "golden.npz")))
    for name, arrays in zip(("weights.npz", "golden.npz"), made, strict=True):
        np.savez_compressed(here / name, **arrays)
