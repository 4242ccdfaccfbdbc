"""Records of the zip files that `torch.save` writes, mapped from the file.

Python's `zipfile` lists the records, and their bytes are taken from where it says they lie: torch's
own zip reader may see another content in a crafted file, and is never asked.
"""

import mmap
import struct
import zipfile
import zlib
from pathlib import Path

import torch

from stepimp.errors import StepimpError
from stepimp.models.headers import refuse_pointer

LOCAL_HEADER = struct.Struct("<4s5H3I2H")
SIGNATURE = b"PK\x03\x04"
# What zipfile raises for a damaged directory.
NOT_A_ZIP = (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, struct.error)


class Records:
    """The records of one file: bytes and tensors by name, below the folder that holds data.pkl.

    Raises StepimpError for a file that is not a torch checkpoint of this machine's byte order, and
    for a TorchScript program.
    """

    def __init__(self, file: Path):
        self.file = file
        try:
            refuse_pointer(file)
            with zipfile.ZipFile(file) as opened:
                entries = opened.infolist()
            with file.open("rb") as stream:
                self.mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        except NOT_A_ZIP as error:
            raise StepimpError(
                f"{file} is truncated or not a torch checkpoint (a zip file)."
            ) from error
        except OSError as error:
            raise StepimpError(f"Cannot read {file}: {error.strerror}.") from error
        self.entries = {entry.orig_filename: entry for entry in entries}
        if any(name.endswith("constants.pkl") for name in self.entries):
            raise StepimpError(f"{file} is a TorchScript program, and stepimp executes none.")
        roots = [name for name in self.entries if name.endswith("/data.pkl")]
        if len(roots) != 1 or len(entries) != len(self.entries):
            raise self.damaged("it does not hold one data.pkl, and each record once")
        self.root = roots[0].removesuffix("data.pkl")
        order = self.bytes("byteorder") if f"{self.root}byteorder" in self.entries else b"little"
        if order != b"little":
            raise self.damaged(f"its byte order is {order[:20]!r}, not little")

    def damaged(self, reason: str) -> StepimpError:
        """The error for a damaged file."""
        return StepimpError(f"{self.file} is truncated or damaged: {reason}.")

    def find(self, name: str) -> tuple[int, int]:
        """(start, size) of a record's bytes in the file."""
        entry = self.entries.get(self.root + name)
        if entry is None:
            raise self.damaged(f"it has no record {name}")
        at = entry.header_offset
        header = self.mapped[at : at + LOCAL_HEADER.size] if at >= 0 else b""
        if len(header) < LOCAL_HEADER.size or header[:4] != SIGNATURE:
            raise self.damaged(f"{name} is not where its directory says")
        fields = LOCAL_HEADER.unpack(header)
        flags, method, name_size, extra_size = fields[2], fields[3], fields[9], fields[10]
        named = at + LOCAL_HEADER.size
        if self.mapped[named : named + name_size] != entry.orig_filename.encode():
            raise self.damaged(f"{name} has another name where its bytes lie")
        stored = method == entry.compress_type == zipfile.ZIP_STORED
        if not stored or flags & 1 or entry.compress_size != entry.file_size:
            raise self.damaged(f"{name} is compressed or encrypted")
        start = named + name_size + extra_size
        if start + entry.file_size > len(self.mapped):
            raise self.damaged(f"{name} ends after the file")
        return start, entry.file_size

    def size(self, name: str) -> int:
        """Size of a record in bytes."""
        return self.find(name)[1]

    def check(self, name: str):
        """Raises StepimpError where a record's bytes are not those that were written."""
        start, size = self.find(name)
        written = self.entries[self.root + name].CRC
        with memoryview(self.mapped) as whole, whole[start : start + size] as part:
            if written and zlib.crc32(part) != written:  # 0 where torch wrote no checksums
                raise self.damaged(f"the checksum of {name} is wrong")

    def bytes(self, name: str) -> bytes:
        """A record's content. Raises StepimpError for a wrong checksum."""
        self.check(name)
        start, size = self.find(name)
        return self.mapped[start : start + size]

    def tensor(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """A record as a tensor with one dimension, mapped from the file."""
        self.check(name)
        start, size = self.find(name)
        if not size:
            return torch.empty(0, dtype=dtype)
        flat = torch.frombuffer(self.mapped, dtype=torch.uint8, count=size, offset=start)
        aligned = flat.data_ptr() % dtype.itemsize == 0
        return (flat if aligned else flat.clone()).view(dtype)
