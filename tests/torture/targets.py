"""Files that people damage, and the commands that read them: each trial damages one file."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mutations import damaged_bytes, damaged_json, damaged_lines
from world import World, call, rows_of, unfinished

from stepimp.schedules.over_masked import MaskedSchedule
from stepimp.schedules.saved import SavedSchedule

# kind of document: the curves that its command reads
CURVES = {"recommend": "kl", "search": "kl"}
CURVES |= dict.fromkeys(("policies", "recommend_masked", "plan"), "masked")


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
    """Makes trials in a scratch folder. What is not damaged is made once, when it is needed."""

    def __init__(self, world: World, folder: Path):
        self.world, self.folder = world, folder
        self.family, self.out = folder / "family", folder / "out"
        self.expected: dict = {}

    def finished(self, command: str, journals: bool = False) -> Path:
        """A results folder in which a command has run: with its document, or all its journals."""
        folder = self.folder / f"{command}{'-journals' if journals else ''}"
        if not folder.exists():
            if command in CURVES:  # which would measure curves of other text
                shutil.copytree(self.finished(CURVES[command]), folder)
            if journals:
                unfinished(self.world, command, folder)
            else:
                ended = call(*self.world.line(command), "--out", folder)
                assert ended.code == 0, ended.output
        return folder

    def copy(self, source: Path, to: Path) -> Path:
        shutil.rmtree(to, ignore_errors=True)
        return shutil.copytree(source, to)

    def document(self, kind: str, line: list) -> Trial:
        """A results document, read by a command: FILE in its line is the document."""
        out = self.copy(self.finished({"curves": "kl"}.get(kind, kind)), self.out)
        (file,) = out.glob(f"{'curves' if kind == 'masked' else kind}-*.json")
        content = json.loads(file.read_text())
        family = ["--family", self.world.family]
        line = [file if part == "FILE" else part for part in line] + family
        if line[0] == "figures":
            line += ["--results", out, "--out", self.folder / "figures"]
        else:
            line += ["--out", out]
        return Trial(file, lambda: damaged_json(content), line)

    def journal(self, command: str, in_bytes: bool = False) -> Trial:
        """A journal, from which a command resumes."""
        out = self.copy(self.finished(command, journals=True), self.out)
        names = {"kl": "curves-*.journal", "compare": "samples-*.jsonl"}
        file = sorted(out.glob(names.get(command, f"{command}-*.journal")))[0]
        content = file.read_bytes()
        line = [*self.world.line(command), "--out", out]
        damage = damaged_bytes if in_bytes else damaged_lines
        return Trial(file, lambda: damage(content), line, lambda: self.rows(command))

    def rows(self, command: str) -> list:
        return list(rows_of(self.out, "curves" if command == "kl" else command).values())

    def of_family(self, name: str, command: str, in_bytes: bool = False) -> Trial:
        """A file of the family: its manifest, a config, weights or a tokenizer."""
        self.copy(self.world.family, self.family)
        shutil.rmtree(self.out, ignore_errors=True)
        file = self.family / name
        content = file.read_bytes()
        if command == "evaluate":
            (samples,) = self.finished("generate").glob("generate-*.jsonl")
            line = [command, samples]
        else:
            line = [command, *self.world.options(command)[2:]]
        line += ["--family", self.family, "--out", self.out]
        strategy = damaged_bytes(content) if in_bytes else damaged_json(json.loads(content))
        return Trial(file, lambda: strategy, line, lambda: self.rows(command))

    def text(self, suffix: str) -> Trial:
        """A text to measure."""
        plain = self.world.text.read_text()[:8000]
        as_file = {
            ".txt": plain,
            ".jsonl": "\n".join(json.dumps({"text": line}) for line in plain.split("\n")),
            ".csv": "text,n\n" + "\n".join(f'"{line}",1' for line in plain.split("\n")),
        }
        content = as_file[suffix].encode()
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"text{suffix}"
        file.write_bytes(content)
        shutil.rmtree(self.out, ignore_errors=True)
        line = ["kl", *self.world.options("kl")[:-1], file, "--out", self.out]
        return Trial(file, lambda: damaged_bytes(content), line)

    def schedule_file(self) -> Trial:
        """A schedule as JSON, which `generate` runs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "schedule.json"
        saved = SavedSchedule(MaskedSchedule((("1b", 8, 4), ("2b", 4, 0)))).to_json()
        file.write_text(saved)
        line = ["generate", "--schedule", file, "--samples", 2, "--length", 8]
        line += ["--family", self.world.family, "--out", self.out]
        shutil.rmtree(self.out, ignore_errors=True)
        return Trial(file, lambda: damaged_json(json.loads(saved)), line)

    def prompts(self) -> Trial:
        """JSON Lines of prompts, which `generate` continues."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "prompts.jsonl"
        prompts = [{"prompt": "the"}, {"text": "a", "suffix": "of"}, {"infill": "the {2} of {}"}]
        content = "".join(json.dumps(prompt) + "\n" for prompt in prompts).encode()
        file.write_bytes(content)
        line = ["generate", "--schedule", "H8", "--prompt", file, "--samples", 1, "--length", 16]
        line += ["--heavy", "2b", "--light", "1b", "--family", self.world.family, "--out", self.out]
        shutil.rmtree(self.out, ignore_errors=True)
        return Trial(file, lambda: damaged_lines(content), line)

    def samples(self) -> Trial:
        """A samples file."""
        out = self.copy(self.finished("generate"), self.out)
        (file,) = out.glob("generate-*.jsonl")
        content = file.read_bytes()
        line = ["evaluate", file, "--family", self.world.family, "--out", out]
        return Trial(file, lambda: damaged_lines(content), line)


RECOMMEND = ["recommend", "--steps", 8, "--budget", 0.5, "--curves", "FILE"]
PLAN = ["plan", "--heavy", "2b", "--light", "1b", "--forwards", 4, "--curves", "FILE"]
# name: the trial that a bench makes of it
TARGETS: dict[str, Callable[[Bench], Trial]] = {
    "curves by recommend": lambda bench: bench.document("curves", RECOMMEND),
    "curves by figures": lambda bench: bench.document("curves", ["figures", "--only", "4,5"]),
    "recommendation by figures": lambda bench: bench.document(
        "recommend", ["figures", "--only", "tradeoff,recommended"]
    ),
    "comparison by figures": lambda bench: bench.document(
        "compare", ["figures", "--only", "1,entropy,claims"]
    ),
    "search by figures": lambda bench: bench.document(
        "search", ["figures", "--only", "2,6,predicted,claims"]
    ),
    "profile by figures": lambda bench: bench.document("profile", ["figures", "--only", "profile"]),
    "recommendation by generate": lambda bench: bench.document(
        "recommend", ["generate", "--samples", 2]
    ),
    "text's document by evaluate": lambda bench: bench.document("generate", ["evaluate", "FILE"]),
    "cascade by generate": lambda bench: bench.document(
        "cascade", ["generate", "--cascade", "auto", "--samples", 2]
    ),
    "curves over n by plan": lambda bench: bench.document("masked", PLAN),
    "curves over n by recommend": lambda bench: bench.document(
        "masked", [*RECOMMEND, "--over", "masked"]
    ),
    "plan by figures": lambda bench: bench.document("plan", ["figures", "--only", "plan"]),
    "recommendation over n by figures": lambda bench: bench.document(
        "recommend_masked", ["figures", "--only", "masked"]
    ),
    "policies by figures": lambda bench: bench.document(
        "policies", ["figures", "--only", "policies,policies-table"]
    ),
    "schedule file": lambda bench: bench.schedule_file(),
    "prompts": lambda bench: bench.prompts(),
    "journal of cascade": lambda bench: bench.journal("cascade"),
    "journal of policies": lambda bench: bench.journal("policies"),
    "journal of kl": lambda bench: bench.journal("kl"),
    "journal's bytes": lambda bench: bench.journal("kl", in_bytes=True),
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
