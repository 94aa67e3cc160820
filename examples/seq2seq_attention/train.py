"""Trains an encoder and a decoder with attention to read dates, exports both, and lets edgelstm translate.

    python examples/seq2seq_attention/train.py [--updates 1500] [--folder FOLDER]

"7 march 1998" becomes "1998-03-07". The encoder is a GRU that reads the letters both ways; the decoder a GRU that is
fed its own digits and looks back at the encoder's outputs by additive attention (Bahdanau et al. 2015). Both are
exported to ONNX; edgelstm steps the decoder on its own output. About half a minute on one core.
"""

from __future__ import annotations

import argparse
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import edgelstm

MONTHS = [date(2000, month, 1).strftime("%B").lower() for month in range(1, 13)]
LETTERS = " .,0123456789abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789-"
BEGIN, END = len(DIGITS), len(DIGITS) + 1
LONGEST = 12
UNITS = 64


class Encoder(nn.Module):
    """Letters (B, S) -> memory (B, S, UNITS) and last state (1, B, UNITS)."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(len(LETTERS), 16)
        self.gru = nn.GRU(16, UNITS // 2, batch_first=True, bidirectional=True)

    def forward(self, letters: Tensor) -> tuple[Tensor, Tensor]:
        memory, state = self.gru(self.emb(letters))
        return memory, torch.cat([state[:1], state[1:]], dim=2)


class Decoder(nn.Module):
    """Ids (B, T), state (1, B, UNITS), memory (B, S, UNITS) -> scores (B, T, ids), state."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(END + 1, 16)
        self.gru = nn.GRU(16, UNITS, batch_first=True)
        self.query, self.key, self.heed = (
            nn.Linear(UNITS, UNITS),
            nn.Linear(UNITS, UNITS, bias=False),
            nn.Linear(UNITS, 1),
        )
        self.head = nn.Linear(2 * UNITS, END + 1)

    def forward(self, digits: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.gru(self.emb(digits), state)
        pairs = torch.tanh(self.query(y)[:, :, None] + self.key(memory)[:, None])  # (B, T, S, UNITS)
        weights = torch.softmax(self.heed(pairs)[..., 0], dim=2)
        return self.head(torch.cat([y, weights @ memory], dim=2)), state


def sentences(rng: np.random.Generator, count: int) -> list[tuple[str, str]]:
    """Dates as people write them, and as they are sorted."""
    found = []
    for offset in rng.integers(0, 365 * 100, count).tolist():
        day = date(1950, 1, 1) + timedelta(days=offset)
        month = MONTHS[day.month - 1]
        forms = (
            f"{day.day} {month} {day.year}",
            f"{month} {day.day}, {day.year}",
            f"{day.day}.{day.month}.{day.year}",
            f"the {day.day} {month[:3]}. {day.year}",
        )
        found.append((forms[int(rng.integers(len(forms)))], day.isoformat()))
    return found


def letter_ids(text: str) -> list[int]:
    return [LETTERS.index(letter) for letter in text]


def batches(rng: np.random.Generator, updates: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of texts of one length each, so that none needs padding."""
    by_length: dict[int, list[tuple[str, str]]] = {}
    for text, digits in sentences(rng, 64 * updates):
        by_length.setdefault(len(text), []).append((text, digits))
    found = []
    for pairs in by_length.values():
        for start in range(0, len(pairs), 64):
            part = pairs[start : start + 64]
            source = [letter_ids(text) for text, _ in part]
            target = [[BEGIN, *(DIGITS.index(digit) for digit in digits), END] for _, digits in part]
            found.append((torch.tensor(source), torch.tensor(target)))
    return [found[int(index)] for index in rng.permutation(len(found))]


def train(updates: int, seed: int = 0) -> tuple[Encoder, Decoder]:
    torch.manual_seed(seed)
    encoder, decoder = Encoder(), Decoder()
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=5e-3)
    examples = batches(np.random.default_rng(seed), updates)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(examples))
    for source, target in examples:
        memory, state = encoder(source)
        scores, _ = decoder(target[:, :-1], state, memory)
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), target[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*encoder.parameters(), *decoder.parameters()], 1.0)
        optimizer.step()
        schedule.step()
    return encoder.eval(), decoder.eval()


def export(encoder: Encoder, decoder: Decoder, folder: Path) -> None:
    letters, digits = torch.zeros(1, 9, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.int64)
    memory, state = encoder(letters)
    torch.onnx.export(
        encoder,
        (letters,),
        folder / "encoder.onnx",
        input_names=["letters"],
        output_names=["memory", "state"],
        dynamic_axes={"letters": {0: "batch", 1: "length"}, "memory": {0: "batch", 1: "length"}, "state": {1: "batch"}},
        dynamo=False,
    )
    torch.onnx.export(
        decoder,
        (digits, state, memory),
        folder / "decoder.onnx",
        input_names=["digits", "state", "memory"],
        output_names=["scores", "next_state"],
        dynamic_axes={"digits": {1: "steps"}, "memory": {1: "length"}, "scores": {1: "steps"}},
        dynamo=False,
    )


class Translator:
    """The exported models on edgelstm."""

    def __init__(self, folder: Path) -> None:
        self.encoder = edgelstm.load(folder / "encoder.onnx")
        self.decoder = edgelstm.load(folder / "decoder.onnx")

    def __call__(self, text: str, sampler: edgelstm.Beam | edgelstm.Greedy = edgelstm.Greedy()) -> str:  # noqa: B008
        seen = self.encoder.run({"letters": [letter_ids(text)]})
        found = edgelstm.generate(
            self.decoder,
            BEGIN,
            END,
            LONGEST,
            sampler,
            state={"state": seen["state"]},
            context={"memory": seen["memory"][0]},
        )
        return "".join(DIGITS[item] if item < len(DIGITS) else "?" for item in found.ids.tolist())


def by_torch(encoder: Encoder, decoder: Decoder, text: str) -> str:
    """The same loop in PyTorch."""
    with torch.no_grad():
        memory, state = encoder(torch.tensor([letter_ids(text)]))
        item, digits = BEGIN, ""
        for _ in range(LONGEST):
            scores, state = decoder(torch.tensor([[item]]), state, memory)
            item = int(scores.argmax())
            if item == END:
                break
            digits += DIGITS[item] if item < len(DIGITS) else "?"
    return digits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=1500)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder, decoder = train(options.updates)
    export(encoder, decoder, options.folder)
    translate = Translator(options.folder)
    unseen = sentences(np.random.default_rng(99), 200)
    for text, digits in unseen[:5]:
        print(f"{text:>22} -> {translate(text)} ({digits})")
    right = sum(translate(text) == digits for text, digits in unseen)
    beam = sum(translate(text, edgelstm.Beam(4)) == digits for text, digits in unseen)
    same = sum(translate(text) == by_torch(encoder, decoder, text) for text, _ in unseen)
    print(f"right: {right} of {len(unseen)}, with beams of 4: {beam}; as PyTorch: {same}")


if __name__ == "__main__":
    main()
