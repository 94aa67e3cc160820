"""Text attributes of an HDF5 file, read without the HDF5 library.

The library believes the length that a variable-length text has in its reference: a changed byte there makes it take
gigabytes and half a minute before it refuses. Here every length is held against the file. What is read is the layout
that h5py writes unless told otherwise, and so every Keras: version 1 object headers, and a global heap for text (HDF5
File Format Specification, version 3.0: object headers, global heap, datatype, dataspace and attribute messages).
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from edgelstm.errors import FormatError

MAX_TEXTS = 100_000
MAX_BLOCKS = 1000  # continuations of one header
_ATTRIBUTE, _CONTINUATION, _SHARED = 0x0C, 0x10, 0x02
_STRING, _VARIABLE = 3, 9


class TextReader:
    """Reads attributes by the address of the object that has them.

    Args:
        file: open for reading, its first byte that of the HDF5 superblock.
        where: what messages call it.
        size: bytes of the file.
    """

    def __init__(self, file: BinaryIO, where: str, size: int) -> None:
        self.file, self.where, self.size = file, where, size
        self.room = 4 * size + (1 << 16)  # headers and heaps are read once; this bounds those that overlap
        self._heaps: dict[int, dict[int, bytes]] = {}

    def attributes(self, address: int, wanted: tuple[str, ...]) -> dict[str, str | list[str]]:
        """The attributes of an object whose names, but for a number at the end, are `wanted`.

        Raises:
            FormatError: a header, length or address does not fit the file, or the header is of another version.
        """
        found: dict[str, str | list[str]] = {}
        for kind, flags, body in self._messages(address):
            if kind != _ATTRIBUTE or flags & _SHARED:
                continue
            version, name_size, type_size, space_size = struct.unpack_from("<B1xHHH", self._need(body, 8))
            start, align = {1: (8, 8), 2: (8, 1), 3: (9, 1)}.get(version, (0, 0))
            if not start:
                raise self._damaged(f"an attribute of version {version}")
            ends = [start]
            for part in (name_size, type_size, space_size):
                ends.append(ends[-1] + -(-part // align) * align)
            self._need(body, ends[-1])
            name = self._decoded(body[start : start + name_size].split(b"\0")[0])
            if name.rstrip("0123456789") in wanted:
                kind_of = body[ends[1] : ends[1] + type_size]
                found[name] = self._value(name, kind_of, body[ends[2] : ends[2] + space_size], body[ends[3] :])
        return found

    def _messages(self, address: int) -> list[tuple[int, int, bytes]]:
        version, length = struct.unpack("<B7xI4x", self._read(address, 16))
        if version != 1:
            raise FormatError(f"{self.where}: object headers of version {version}: expected those that Keras writes")
        blocks, messages = [(address + 16, length)], []
        for start, size in blocks:
            data, position = self._read(start, size), 0
            while position + 8 <= size:
                kind, count, flags = struct.unpack_from("<HHB", data, position)
                body = data[position + 8 : position + 8 + count]
                if len(body) != count:
                    raise self._damaged("an object header ends too early")
                messages.append((kind, flags, body))
                if kind == _CONTINUATION:
                    if len(blocks) >= MAX_BLOCKS:
                        raise self._damaged(f"an object header in more than {MAX_BLOCKS} pieces")
                    blocks.append(struct.unpack_from("<QQ", self._need(body, 16)))
                position += 8 + count
        return messages

    def _value(self, name: str, kind: bytes, space: bytes, data: bytes) -> str | list[str]:
        count, single = self._count(space)
        if count == 0:
            return []
        code, width = struct.unpack_from("<B3xI", self._need(kind, 8))
        variable = code & 15 == _VARIABLE and kind[1] & 15 == 1
        if not variable and code & 15 != _STRING:
            raise FormatError(f"{self.where}: attribute {name!r}: expected text")
        if count > MAX_TEXTS or width == 0 or count * width > len(data) or (variable and width != 16):
            raise self._damaged(f"attribute {name!r}: {count} texts of {width} bytes")
        items = [data[start : start + width] for start in range(0, count * width, width)]
        texts = [self._decoded(self._heap_text(item) if variable else item.rstrip(b"\0")) for item in items]
        return texts[0] if single else texts

    def _count(self, space: bytes) -> tuple[int, bool]:
        """The number of elements, and whether there is one and no axis."""
        version, rank, _, kind = struct.unpack_from("<BBBB", self._need(space, 4))
        if version not in (1, 2) or rank > 1:
            raise self._damaged("a list of texts with more than one axis")
        if rank == 0:
            return (0, False) if version == 2 and kind == 2 else (1, True)
        return struct.unpack_from("<Q", self._need(space, 16 if version == 1 else 12), 8 if version == 1 else 4)[
            0
        ], False

    def _heap_text(self, reference: bytes) -> bytes:
        length, address, index = struct.unpack("<IQI", reference)
        if length == 0:
            return b""
        if address not in self._heaps:
            self._heaps[address] = self._heap(address)
        text = self._heaps[address].get(index)
        if text is None or len(text) != length:
            raise self._damaged(f"a text of {length} bytes is not where it should be")
        return text.rstrip(b"\0")

    def _heap(self, address: int) -> dict[int, bytes]:
        mark, version, size = struct.unpack("<4sB3xQ", self._read(address, 16))
        if mark != b"GCOL" or version != 1 or size < 16:
            raise self._damaged("a heap of texts is not where it should be")
        data, position, found = self._read(address, size), 16, {}
        while position + 16 <= size:
            index, length = struct.unpack_from("<H6xQ", data, position)
            if index == 0:
                break
            if length > size - position - 16:
                raise self._damaged("a text reaches past its heap")
            found[index] = data[position + 16 : position + 16 + length]
            position += 16 + -(-length // 8) * 8
        return found

    def _read(self, address: int, size: int) -> bytes:
        if address > self.size or size > self.size - address:
            raise self._damaged(f"{size} bytes at {address} reach past the end of the file")
        self.room -= size
        if self.room < 0:
            raise self._damaged("its headers and texts overlap")
        self.file.seek(address)
        return self.file.read(size)

    def _need(self, data: bytes, size: int) -> bytes:
        if len(data) < size:
            raise self._damaged("an object header ends too early")
        return data

    def _decoded(self, text: bytes) -> str:
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._damaged(f"a text that is not UTF-8 ({error.reason})") from None

    def _damaged(self, what: str) -> FormatError:
        return FormatError(f"{self.where}: not a whole HDF5 file: {what}; save or download it again")
