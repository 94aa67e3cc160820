"""What an import did with everything it found: the list that `edgelstm convert` prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["mapped", "assumed", "warning", "repaired", "refused"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One finding.

    Attributes:
        kind: "mapped" (the file says so), "assumed" (the file is silent, a default or a deduction fills in),
            "warning" (looks like an exporter's fault; taken as it is), "repaired" (one that was put right on request),
            "refused" (not honoured; the import raised).
        where: the node or input, as the file names it.
        subject: the attribute, dimension or operator.
        text: what became of it.
    """

    kind: Kind
    where: str
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind:8} {self.where}: {self.subject}: {self.text}"


@dataclass(slots=True)
class Report:
    """The findings of one import, in the order in which they were made."""

    entries: list[Entry] = field(default_factory=list)

    def add(self, kind: Kind, where: str, subject: str, text: str) -> None:
        """Note a finding; the same one again is not repeated."""
        entry = Entry(kind, where, subject, text)
        if entry not in self.entries[-50:]:
            self.entries.append(entry)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __str__(self) -> str:
        return "\n".join(map(str, self.entries))
