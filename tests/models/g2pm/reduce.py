"""Makes `weights.npz` and `golden.npz` here from those of the g2pM model: only the tokens that occur stay.

    python tests/models/g2pm/reduce.py FOLDER

FOLDER holds `weights.npz` (the state dict that g2pM 0.1.2.5 ships, as arrays) and `golden.npz` (its inputs and
outputs). The embedding has 5398 rows, of which the sentences use few: rows are kept in their order, and the
token ids are renumbered to match. Nothing else changes.
"""

import sys
from pathlib import Path

import numpy as np

KEPT = ("lengths", "batch_target_idx", "batch_hidden", "batch_logits")
SENTENCES = range(3)  # those whose logits the golden file holds


def reduce(weights, golden):
    """The smaller weights and golden arrays."""
    used, ids = np.unique(golden["token_ids"], return_inverse=True)
    small = {**weights, "embedding.weight": weights["embedding.weight"][used]}
    kept = {name: golden[name] for name in KEPT}
    for index in SENTENCES:
        kept |= {name: golden[name] for name in (f"bilstm_{index}", f"logits_{index}")}
    return small, {"token_ids": ids.reshape(golden["token_ids"].shape), **kept}


if __name__ == "__main__":
    folder, here = Path(sys.argv[1]), Path(__file__).parent
    made = reduce(dict(np.load(folder / "weights.npz")), dict(np.load(folder / "golden.npz")))
    for name, arrays in zip(("weights.npz", "golden.npz"), made, strict=True):
        np.savez_compressed(here / name, **arrays)
