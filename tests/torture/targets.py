"""Files that people damage, and the commands that read them: each trial damages one file."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mutations import damaged_bytes, damaged_json, damaged_lines
from world import World, call, rows_of, unfinished


@dataclass(frozen=True)
class Trial:
    """A damaged file and the command that reads it.

    content: strategy of (bytes, what was done, whether an honest run might have written it).
    rows: gives the rows that the command wrote; they must be those of the undamaged file, unless
    the damage is one that an honest run might have written.
    """

    file: Path
    content: Callable
    command: list
    rows: Callable[[], object] | None = None
    clean: Callable[[], None] = lambda: None


class Bench:
    """Makes trials in a scratch folder. Everything undamaged is made once."""

    def __init__(self, world: World, folder: Path):
        self.world, self.folder = world, folder
        self.results = folder / "results"
        self.results.mkdir(parents=True)
        for command in ("kl", "recommend", "compare", "generate", "search", "profile"):
            ended = call(command, *world.options(command), "--out", self.results)
            assert ended.code == 0, ended.output
        self.journals = folder / "journals"
        for command in ("kl", "compare", "generate", "search"):
            unfinished(world, command, self.journals)
        self.family = folder / "family"
        shutil.copytree(world.family, self.family)
        self.expected: dict = {}

    def out(self, source: Path) -> Path:
        """A fresh copy of a results folder."""
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(source, out)
        return out

    def document(self, kind: str, command: list) -> Trial:
        """A results document, read by a command."""
        out = self.out(self.results)
        (file,) = out.glob(f"{kind}-*.json")
        content = json.loads(file.read_text())
        figures = ["--family", self.world.family, "--out", self.folder / "figures"]
        where = ["--results", out, *figures] if command[0] == "figures" else ["--out", out]
        if command[0] == "evaluate":
            where = [file, "--family", self.world.family, "--out", out]
        line = [command[0], *command[1:], *where]
        line = [file if part == "FILE" else part for part in line]
        return Trial(file, lambda: damaged_json(content), line)

    def journal(self, command: str) -> Trial:
        """A journal, from which a command resumes."""
        out = self.out(self.journals)
        patterns = {"kl": "curves-*.journal", "compare": "samples-*.jsonl"}
        file = sorted(out.glob(patterns.get(command, f"{command}-*.journal")))[0]
        content = file.read_bytes()
        kind = {"kl": "curves"}.get(command, command)
        line = [command, *self.world.options(command), "--out", out]
        return Trial(
            file, lambda: damaged_lines(content), line, lambda: list(rows_of(out, kind).values())
        )

    def of_family(self, name: str, command: str, in_bytes: bool = False) -> Trial:
        """A file of the family: its manifest, a config, weights or a tokenizer."""
        shutil.rmtree(self.family)
        shutil.copytree(self.world.family, self.family)
        file, out = self.family / name, self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        content = file.read_bytes()
        line = [command, *self.world.options(command)[2:], "--family", self.family, "--out", out]
        if command == "evaluate":
            (samples,) = self.results.glob("generate-*.jsonl")
            line = [command, samples, "--family", self.family, "--out", out]
        kind = {"kl": "curves"}.get(command, command)
        strategy = damaged_bytes(content) if in_bytes else damaged_json(json.loads(content))
        return Trial(file, lambda: strategy, line, lambda: list(rows_of(out, kind).values()))

    def text(self, suffix: str) -> Trial:
        """A text to measure."""
        folder = self.folder / "texts"
        folder.mkdir(exist_ok=True)
        file = folder / f"text{suffix}"
        plain = self.world.text.read_text()
        as_file = {
            ".txt": plain,
            ".jsonl": "\n".join(json.dumps({"text": line}) for line in plain.split("\n")),
            ".csv": "text,n\n" + "\n".join(f'"{line}",1' for line in plain.split("\n")),
        }
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        content = as_file[suffix].encode()
        options = [*self.world.options("kl")[:-1], file]
        return Trial(file, lambda: damaged_bytes(content), ["kl", *options, "--out", out])

    def samples(self) -> Trial:
        """A samples file."""
        out = self.out(self.results)
        (file,) = out.glob("generate-*.jsonl")
        content = file.read_bytes()
        line = ["evaluate", file, "--family", self.world.family, "--out", out]
        return Trial(file, lambda: damaged_lines(content), line)


RECOMMEND = ["recommend", "--steps", 8, "--budget", 0.5, "--curves", "FILE"]
# name: the trial that a bench makes of it
TARGETS: dict[str, Callable[[Bench], Trial]] = {
    "curves by recommend": lambda bench: bench.document("curves", RECOMMEND),
    "curves by figures": lambda bench: bench.document(
        "curves", ["figures", "--only", "2,3,table1"]
    ),
    "recommendation by figures": lambda bench: bench.document(
        "recommend", ["figures", "--only", "tradeoff,recommended"]
    ),
    "comparison by figures": lambda bench: bench.document(
        "compare", ["figures", "--only", "1,table2,claims"]
    ),
    "search by figures": lambda bench: bench.document(
        "search", ["figures", "--only", "12,13,predicted"]
    ),
    "profile by figures": lambda bench: bench.document("profile", ["figures", "--only", "profile"]),
    "recommendation by generate": lambda bench: bench.document(
        "recommend", ["generate", "--family", bench.world.family, "--samples", 2]
    ),
    "text's document by evaluate": lambda bench: bench.document("generate", ["evaluate"]),
    "journal of kl": lambda bench: bench.journal("kl"),
    "journal of compare": lambda bench: bench.journal("compare"),
    "journal of generate": lambda bench: bench.journal("generate"),
    "journal of search": lambda bench: bench.journal("search"),
    "manifest": lambda bench: bench.of_family("family.json", "kl"),
    "manifest's bytes": lambda bench: bench.of_family("family.json", "kl", in_bytes=True),
    "config": lambda bench: bench.of_family("2b/config.json", "kl"),
    "config's bytes": lambda bench: bench.of_family("2b/config.json", "kl", in_bytes=True),
    "weights": lambda bench: bench.of_family("2b/model.safetensors", "kl", in_bytes=True),
    "tokenizer": lambda bench: bench.of_family("2b/tokenizer.json", "kl"),
    "judge's config": lambda bench: bench.of_family("judge/config.json", "evaluate"),
    "judge's weights": lambda bench: bench.of_family(
        "judge/model.safetensors", "evaluate", in_bytes=True
    ),
    "judge's tokenizer": lambda bench: bench.of_family("judge/tokenizer.json", "evaluate"),
    "text": lambda bench: bench.text(".txt"),
    "JSON Lines": lambda bench: bench.text(".jsonl"),
    "CSV": lambda bench: bench.text(".csv"),
    "samples": lambda bench: bench.samples(),
}
