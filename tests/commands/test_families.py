"""Families of foreign layouts, from `family add` to curves, schedules and text."""

import json
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tiny_layouts import LAYOUTS
from tiny_models import WORDS, word_tokenizer

from stepimp.commands import main
from stepimp.curves.inputs import TextInputs, framed
from stepimp.curves.measure import measure, time_grid
from stepimp.curves.tables import kl_rows
from stepimp.models.loading import load
from stepimp.noise import corrupt
from stepimp.sampling import mdlm_sampler, sampler
from stepimp.schedules.schedule import parse

FRAMED = {"bert": 15, "roberta": 15, "modernbert": 30}  # kind -> percent masked in training
KINDS = ("llada", "smdm", "dream", "diffugpt", "qwen3", *FRAMED)
SIZES = {"heavy": (3, 1), "light": (1, 2), "heavy_seed2": (3, 3)}  # name -> blocks, seed


def invoke(*arguments, code=0):
    result = CliRunner().invoke(main, [str(part) for part in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.stderr
    return result


@pytest.fixture(scope="module", params=KINDS)
def foreign(request, tmp_path_factory):
    """(kind, family folder, {name: reference logits}, {name: path}); made by `family add`."""
    folder = tmp_path_factory.mktemp(request.param)
    made = {
        name: LAYOUTS[request.param](folder / f"at-{name}", *sizes) for name, sizes in SIZES.items()
    }
    family = folder / "family"
    for name, (path, _) in made.items():
        seed = ["--seed-of", "heavy"] if name == "heavy_seed2" else []
        invoke("family", "add", family, name, path, *seed)
    references = {name: reference for name, (_, reference) in made.items()}
    return request.param, family, references, {name: path for name, (path, _) in made.items()}


@pytest.fixture
def text(tmp_path):
    pytest.importorskip("datasets", reason="datasets, which reads text, is not installed")
    draw = np.random.default_rng(0)
    lines = [" ".join(draw.choice(WORDS, 30)) for _ in range(40)]
    file = tmp_path / "words.txt"
    file.write_text("\n".join(lines))
    return file


def log_p(reference, model, z):
    logits = reference(z)[..., : model.vocab_size]
    return logits.index_fill(-1, torch.tensor(model.mask_id), -torch.inf).log_softmax(-1)


@torch.no_grad()
def test_curves_agree_with_a_loop_over_the_references_own_logits(foreign):
    kind, folder, references, _ = foreign
    family = load(SIZES, folder, "cpu")
    model = family.any
    draw = torch.Generator().manual_seed(0)
    words = torch.randint(5, len(family.tokenizer), (4, 10), generator=draw)
    tokens = framed(words, model.frame)
    inputs = TextInputs(tokens, 7, model.noise, special_ids=model.special_ids)
    arguments = (family.denoisers, "heavy", ["light"], "heavy_seed2", inputs)
    rows = kl_rows(measure(*arguments, time_grid(4), 0), 0)
    x, uniforms = inputs.draw(0, 4, 0)
    for row in rows:
        z = corrupt(x, uniforms, row["t"], model.mask_id, model.noise)
        p = {name: log_p(references[name], model, z) for name in references}
        means = {"light": [], "heavy_seed2": []}
        for b in range(4):
            masked = [i for i in range(z.shape[1]) if z[b, i] == model.mask_id]
            for name in means if masked else ():
                kls = []
                for i in masked:
                    a, other = p["heavy"][b, i], p[name][b, i]
                    possible = a > -torch.inf
                    kls.append(float((a.exp() * (a - other))[possible].sum()))
                means[name].append(np.mean(kls))
        if means["light"]:
            expected = np.mean(means["light"]), np.mean(means["heavy_seed2"])
            assert np.allclose((row["kl_nats"], row["baseline_kl_nats"]), expected, atol=1e-5)
    assert max(row["kl_nats"] for row in rows) > 0.1


def test_kl_recommend_and_generate_work_by_name(foreign, text, tmp_path):
    kind, folder, _, _ = foreign
    common = ["--family", folder, "--out", tmp_path / "results", "--json"]
    models = ["--heavy", "heavy", "--light", "light"]
    size = ["--data", text, "--split", "all", "--sequences", 4, "--points", 3, "--length", 12]
    result = invoke("kl", *models, "--baseline", "heavy_seed2", *size, *common)
    document = json.loads(result.stdout)
    assert all(row["kl_nats"] > 0 for row in document["rows"])
    warned = [p for p in (15, 30) if f"at most {p}% of the tokens" in result.stderr]
    assert warned == ([FRAMED[kind]] if kind in FRAMED else [])
    recommended = json.loads(invoke("recommend", *models, "--budget", 0.5, *common).stdout)
    assert abs(recommended["rows"][0]["light_fraction"] - 0.5) < 0.01
    drawn = json.loads(invoke("generate", *models, "--samples", 2, "--length", 10, *common).stdout)
    assert len(drawn["rows"]) >= 1
    lines = [
        json.loads(line)
        for file in (tmp_path / "results").glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    texts = [line for line in lines if "tokens" in line]
    assert len(texts) == 2 and all(len(sample["tokens"]) == 10 for sample in texts)
    if kind in FRAMED:
        assert all(sample["tokens"][0] == 2 and sample["tokens"][-1] == 3 for sample in texts)
        assert not any(sample["text"].startswith("[CLS]") for sample in texts)


@pytest.mark.parametrize("draw", [sampler.sample, mdlm_sampler.sample])
def test_samplers_leave_the_frame_and_the_prefix_alone(tmp_path, draw):
    path, _ = LAYOUTS["bert"](tmp_path / "a", 1, 1)
    family = load([path], tmp_path, "cpu")
    schedule = parse("H9", path, None)
    prefix = torch.tensor([20, 21])
    z = draw(family.denoisers, schedule, range(5), 8, seed=3, prefix=prefix)
    assert (z[:, 0] == 2).all() and (z[:, -1] == 3).all() and (z[:, 1:3] == prefix).all()
    assert (z != family.any.mask_id).all()


def test_members_are_shown_with_their_layout_and_cost(foreign):
    kind, folder, _, paths = foreign
    members = json.loads(invoke("family", "show", "--family", folder, "--json").stdout)
    assert [member["name"] for member in members] == ["light", "heavy", "heavy_seed2"]
    assert [member["seed"] for member in members] == [1, 1, 2]
    assert members[0]["checkpoint"] == paths["light"]
    shown = invoke("family", "show", folder).stdout
    assert "formula (3)" in shown
    assert "FLOPs of a block" in shown
    assert "FLOPs of a block" not in invoke("family", "show").stdout  # not known when trained
    listed = json.loads(invoke("models", "--family", folder, "--json").stdout)
    family = load(SIZES, folder, "cpu")
    for member in listed:
        assert member["fingerprint"] == family.fingerprints[member["name"]]
        assert member["heldout_nelbo_nats"] is None
    assert "-" in invoke("models", "--family", folder).stdout


def test_what_was_converted_is_the_same_model(foreign, tmp_path):
    kind, folder, references, paths = foreign
    invoke("convert", paths["heavy"], tmp_path / "converted")
    names = [str(tmp_path / "converted"), "heavy"]
    family = load(names, folder, "cpu")
    converted, model = (family.denoisers[name] for name in names)
    for what in ("fingerprint", "mask_id", "shift", "max_length", "frame", "trained_masking"):
        assert getattr(converted, what) == getattr(model, what), what
    z = torch.randint(5, 40, (2, 8))
    with torch.no_grad():
        assert torch.allclose(converted.hidden(z), model.hidden(z), atol=1e-6)


def test_a_converted_folder_loads_strictly_with_transformers(foreign, tmp_path):
    import transformers

    kind, _, references, paths = foreign
    invoke("convert", paths["light"], tmp_path / "converted")
    name = json.loads((tmp_path / "converted" / "config.json").read_text())["architectures"][0]
    model, report = getattr(transformers, name).from_pretrained(
        tmp_path / "converted", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    result = invoke("convert", paths["light"], tmp_path / "converted", code=1)
    assert "is not empty" in result.stderr


MISFITS = {
    "other words": (dict(words=[f"v{i}" for i in range(40)]), "their tokenizers differ"),
    "the same weights": ({}, "holds the same weights as first"),
}


@pytest.mark.parametrize("change, message", MISFITS.values(), ids=MISFITS)
def test_a_checkpoint_that_does_not_belong_is_refused(tmp_path, change, message):
    first, _ = LAYOUTS["llada"](tmp_path / "a", 2, 1)
    other, _ = LAYOUTS["llada"](tmp_path / "b", 2, 1 + bool(change), word_tokenizer(**change))
    invoke("family", "add", tmp_path / "family", "first", first)
    before = (tmp_path / "family" / "family.json").read_text()
    assert message in invoke("family", "add", tmp_path / "family", "other", other, code=1).stderr
    assert (tmp_path / "family" / "family.json").read_text() == before


def test_shifts_must_agree_and_names_be_free_and_seeds_be_as_deep(tmp_path):
    family = tmp_path / "family"
    first, _ = LAYOUTS["qwen3"](tmp_path / "a", 2, 1)
    invoke("family", "add", family, "first", first)
    other, _ = LAYOUTS["diffugpt"](tmp_path / "b", 2, 1)
    assert "shift of predictions" in invoke("family", "add", family, "o", other, code=1).stderr
    small, _ = LAYOUTS["qwen3"](tmp_path / "c", 1, 1)
    for arguments, message in (
        (["first", small], "has a member 'first' already"),
        (["a/b", small], "is not a name"),
        (["o", small, "--seed-of", "first"], "differ in their depth (1 and 2)"),
        (["o", small, "--seed-of", "nobody"], "no member 'nobody': its members are first"),
        (["o", str(tmp_path / "nowhere")], "no such folder"),
    ):
        assert message in invoke("family", "add", family, *arguments, code=1).stderr
    shutil.rmtree(tmp_path / "a")
    result = invoke("kl", "--family", family, "--heavy", "first", "--light", small, code=1)
    assert "no such folder" in result.stderr


def test_members_of_other_width_are_compared_by_their_flops(tmp_path):
    wide, _ = LAYOUTS["llada"](tmp_path / "wide", 2, 1)
    tokenizer = word_tokenizer()
    grouped, _ = LAYOUTS["qwen3"](tmp_path / "grouped", 2, 1, tokenizer)
    for name in (wide, grouped):
        invoke("family", "add", tmp_path / "family", "w" if name == wide else "g", name)
    assert "since widths differ" in invoke("family", "show", "--family", tmp_path / "family").stdout
    family = load(["w", "g"], tmp_path / "family", "cpu")
    assert not family.depth_only and family.blocks["w"] == 1000
    costs = {n: 2 * m.block_flops(family.length) for n, m in family.denoisers.items()}
    assert family.blocks["g"] == round(1000 * costs["g"] / costs["w"]) < 1000


def test_members_are_listed_without_loading_any_weights(python):
    python("""
import sys
from click.testing import CliRunner
from stepimp.commands import main
for arguments in (["models"], ["family", "show"]):
    assert "12b_seed2" in CliRunner().invoke(main, arguments).stdout
assert not {"torch", "transformers", "numpy"} & sys.modules.keys(), sys.modules.keys()
""")


def test_a_schedule_over_members_of_other_width_saves_what_their_flops_say(tmp_path, text):
    wide, _ = LAYOUTS["llada"](tmp_path / "wide", 3, 1)
    light, _ = LAYOUTS["qwen3"](tmp_path / "grouped", 2, 1)
    folder, out = tmp_path / "family", tmp_path / "results"
    for name, path in {"w": wide, "g": light}.items():
        invoke("family", "add", folder, name, path)
    models = ["--heavy", "w", "--light", "g", "--family", folder, "--out", out, "--json"]
    size = ["--data", text, "--split", "all", "--sequences", 4, "--points", 3, "--length", 12]
    invoke("kl", *models, *size)
    document = json.loads(invoke("recommend", *models, "--budget", 0.3, "--save-flops").stdout)
    family = load(["w", "g"], folder, "cpu")
    cost = {n: m.blocks * m.block_flops(family.length) for n, m in family.denoisers.items()}
    row = document["rows"][0]
    expected = row["light_fraction"] * (1 - cost["g"] / cost["w"])
    assert abs(row["saved_flops"] - expected) < 2e-3 and row["saved_flops"] >= 0.3
