"""Crafted and damaged `torch.save` files: nothing runs, nothing is loaded wrong."""

import collections
import io
import pickle
import struct
import zipfile
from contextlib import suppress

import pytest
import torch

from stepimp.errors import StepimpError
from stepimp.models.inert_pickle import load_inert, plain, rebuild_tensor


class Program(torch.nn.Module):
    """A TorchScript program that writes a file when it is loaded."""

    def __init__(self, target: str):
        super().__init__()
        self.target = target

    def forward(self, x):
        return x

    @torch.jit.export
    def __getstate__(self):
        return self.target, True

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]):
        self.target = state[0]
        self.training = state[1]
        torch.save(torch.ones(1), self.target)


def two_directories(raw: bytes, hidden: str) -> bytes:
    """A zip that its zip64 locator describes as it is, and whose last directory lacks a record."""
    start = zipfile.ZipFile(io.BytesIO(raw)).start_dir
    entries, at = [], start
    while raw[at : at + 4] == b"PK\x01\x02":
        name, extra, comment = struct.unpack("<HHH", raw[at + 28 : at + 34])
        end = at + 46 + name + extra + comment
        entries.append(raw[at:end])
        at = end

    def end64(listed, offset):
        size, number = len(b"".join(listed)), len(listed)
        fields = (44, 45, 45, 0, 0, number, number, size, offset)
        return b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", *fields)

    shown = [entry for entry in entries if hidden.encode() not in entry]
    whole = raw[:start] + b"".join(entries)
    located = len(whole)
    whole += end64(entries, start)
    second = len(whole)
    whole += b"".join(shown) + end64(shown, second)
    whole += b"PK\x06\x07" + struct.pack("<IQI", 0, located, 1)
    return (
        whole
        + b"PK\x05\x06"
        + struct.pack("<4H2IH", 0, 0, 2**16 - 1, 2**16 - 1, *[2**32 - 1] * 2, 0)
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_program_that_two_zip_readers_see_differently_is_not_run(tmp_path):
    target, file = tmp_path / "executed", tmp_path / "last.ckpt"
    torch.jit.script(Program(str(target))).save(str(tmp_path / "program.pt"))
    crafted = two_directories((tmp_path / "program.pt").read_bytes(), "constants.pkl")
    file.write_bytes(crafted)
    with zipfile.ZipFile(file) as opened:
        assert not [name for name in opened.namelist() if "constants" in name]
    with pytest.raises(StepimpError):
        load_inert(file)
    assert not target.exists()
    torch.jit.load(file)
    assert target.exists()  # the program works where it is executed


def saved(tmp_path, content=None):
    """(file, {record: bytes}) of a torch checkpoint."""
    file = tmp_path / "last.ckpt"
    torch.save({"w": torch.arange(8.0)} if content is None else content, file)
    with zipfile.ZipFile(file) as opened:
        return file, {name: opened.read(name) for name in opened.namelist()}


def write(file, records, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(file, "w", compression) as opened:
        for name, content in records.items():
            opened.writestr(name, content)


def test_tensors_are_those_that_were_saved(tmp_path):
    whole = torch.randn(6, 5)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.bool):
        tensors = {"all": whole.to(dtype), "view": whole.to(dtype).T[1:4, ::2], "none": whole[:0]}
        file, records = saved(tmp_path, tensors | {"one": torch.nn.Parameter(whole[0, 0])})
        for again in (False, True):  # rewritten, records are not aligned
            if again:
                write(file, records)
            content = load_inert(file)
            for name, tensor in tensors.items():
                assert torch.equal(content[name].read(), tensor), name
            assert content["one"].read() == whole[0, 0]


def replace(old, new):
    def change(records, pickled):
        assert old in records[pickled]
        records[pickled] = records[pickled].replace(old, new, 1)

    return change


def with_pickle(content):
    return lambda records, pickled: records.update({pickled: content})


WHERE = "last/data/0"
HOSTILE = {
    "more elements than bytes": (replace(b"K\x08tq", b"Kdtq"), "does not hold 100 elements"),
    "a negative number": (replace(b"K\x08tq", b"J\xff\xff\xff\xfftq"), "hold -1 elements"),
    "a view past the end": (replace(b"K\x08\x85", b"Kd\x85"), "ends after its record"),
    "a negative offset": (replace(b"QK\x00K\x08", b"QJ\xff\xff\xff\xffK\x08"), "negative size"),
    "another record's name": (
        replace(b"X\x01\x00\x00\x000", b"X\x0a\x00\x00\x00../version"),
        "no record data/../version",
    ),
    "big-endian numbers": (
        lambda records, _: records.update({"last/byteorder": b"big"}),
        "byte order is b'big'",
    ),
    "two pickles": (
        lambda records, _: records.update({"other/data.pkl": b"N."}),
        "does not hold one data.pkl",
    ),
    "a string of 2^60 bytes": (with_pickle(b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"."), ""),
    "a memo of 2^31 entries": (with_pickle(b"\x80\x02Nr\xff\xff\xff\x7f."), "memo index"),
    "an empty stack": (with_pickle(b"\x80\x02."), ""),
    "state for None": (with_pickle(b"\x80\x02N}b."), ""),
    "attributes from a set": (with_pickle(b"\x80\x04\x8f(]\x90."), ""),
    "an extension": (with_pickle(b"\x80\x02\x82\x01."), ""),
    "not a dict": (with_pickle(b"\x80\x02cos\nsystem\n)R."), "holds os.system"),
}


@pytest.mark.parametrize("change, message", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_or_damaged_file_ends_in_one_message(tmp_path, change, message):
    file, records = saved(tmp_path)
    change(records, next(name for name in records if name.endswith("data.pkl")))
    write(file, records)
    with pytest.raises(StepimpError, match=f"last.ckpt.*{message}"):
        load_inert(file)


def test_compressed_records_and_wrong_checksums_are_not_read_as_numbers(tmp_path):
    file, records = saved(tmp_path)
    write(file, records, zipfile.ZIP_DEFLATED)
    with pytest.raises(StepimpError, match="is compressed or encrypted"):
        load_inert(file)
    write(file, records)
    content = file.read_bytes()
    numbers = torch.arange(8.0).numpy().tobytes()
    file.write_bytes(content.replace(numbers, numbers[::-1]))
    with pytest.raises(StepimpError, match="the checksum of data/0 is wrong"):
        load_inert(file)["w"].read()


def test_a_folder_named_like_a_checkpoint(tmp_path):
    with pytest.raises(StepimpError, match="Cannot read .*: Is a directory"):
        load_inert(tmp_path)


def test_a_pickle_cannot_write_into_the_reader_or_torch(tmp_path):
    """BUILD sets attributes of what a name stands for: of a stand-in, which nobody else has."""
    file, records = saved(tmp_path)
    name = b"ctorch._utils\n_rebuild_tensor_v2\n"
    for target in (name, b"ccollections\nOrderedDict\n", b"ctorch\nSize\n"):
        for state in (b"}X\x06\x00\x00\x00hackedNs", b"N}X\x06\x00\x00\x00hackedNs\x86"):
            records["last/data.pkl"] = b"\x80\x02}X\x01\x00\x00\x00a" + target + state + b"bs."
            write(file, records)
            with suppress(StepimpError):  # a class has no dict to write into
                load_inert(file)
    for written in (torch._utils._rebuild_tensor_v2, torch.Size, plain, rebuild_tensor):
        assert not hasattr(written, "hacked")
    assert not hasattr(collections.OrderedDict, "hacked")


def test_shared_and_cyclic_containers_stay_small():
    nested = [1]
    for _ in range(60):
        nested = [nested, nested]
    assert plain({"a": nested})["a"][0] is not None
    cycle = []
    cycle.append(cycle)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for content, message in ((cycle, "contain themselves"), (deep, "nested too deeply")):
        with pytest.raises(StepimpError, match=message):
            plain(content)
    while deep:
        deep = deep.pop()


def test_pickle_alone_is_not_a_checkpoint(tmp_path):
    file = tmp_path / "last.ckpt"
    file.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(StepimpError, match="not a torch checkpoint"):
        load_inert(file)
