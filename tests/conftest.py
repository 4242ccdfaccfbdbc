"""What all tests share: no network, a cache of their own, and a family of tiny random models."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch  # noqa: E402

if not torch.cuda.is_available():  # before anything imports triton, as transformers does
    os.environ["TRITON_INTERPRET"] = "1"

import random  # noqa: E402
import resource  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from contextlib import contextmanager, nullcontext  # noqa: E402
from importlib.metadata import version  # noqa: E402
from importlib.util import find_spec  # noqa: E402

import pytest  # noqa: E402
from hostile import HostileProcessor  # noqa: E402
from packaging.version import Version  # noqa: E402

if not find_spec("datasets"):  # it reads text, and these tests are of that
    collect_ignore = ["text"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a script's job that ends with "&"
    signal.signal(signal.SIGINT, signal.default_int_handler)

MEMBERS = {"2b": (2, 1), "1b": (1, 1), "2b_seed2": (2, 2)}  # name -> blocks, seed
SHAPE = dict(model_length=32, hidden_dim=16, cond_dim=4, n_heads=2, dropout=0.0, noise="linear")


@pytest.fixture(scope="session", autouse=True)
def one_session(tmp_path_factory, request):
    """A cache that ends with the session, results only where a test says, and one thread."""
    torch.set_num_threads(1)
    seed = request.config.getoption("--hostile")
    processor = nullcontext() if seed is None else HostileProcessor(seed)
    with pytest.MonkeyPatch.context() as patch, processor:
        patch.setenv("STEPIMP_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        patch.delenv("STEPIMP_FAMILY", raising=False)
        patch.delenv("STEPIMP_RESULTS", raising=False)
        yield


def pytest_addoption(parser):
    text = "perturb floating-point sums as a processor with other kernels would (tests/hostile.py)"
    parser.addoption("--hostile", type=int, metavar="SEED", help=text)


def pytest_collection_modifyitems(config, items):
    skipped = {}
    if not torch.cuda.is_available():
        skipped["gpu"] = "needs a CUDA device, and torch sees none"
    if config.getoption("--hostile") is not None:
        skipped["bits"] = "measures differences in the last bits, which --hostile adds"
    for item in items:
        for marker, reason in skipped.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def device():
    """Where Triton's kernels are tested: compiled on a GPU if there is one, else in the interpreter
    on the CPU.
    """
    if torch.cuda.is_available():
        return "cuda"
    triton, numpy = (Version(version(package)) for package in ("triton", "numpy"))
    if triton < Version("3.7") and numpy >= Version("2.4"):
        pytest.skip(
            f"the interpreter of Triton {triton} fails under NumPy {numpy}: "
            "only 0-dimensional arrays can be converted to Python scalars"
        )
    return "cpu"


@pytest.fixture
def poisoned_memory(monkeypatch):
    """Fresh memory holds NaN, or of integers nonsense."""
    empty = torch.empty

    def poisoned(*arguments, **options):
        fresh = empty(*arguments, **options)
        return fresh.fill_(torch.nan if fresh.is_floating_point() else -7)

    monkeypatch.setattr(torch, "empty", poisoned)


@pytest.fixture
def python():
    """A function that runs source in a fresh interpreter and returns what it prints."""

    def run(source):
        return subprocess.run(
            [sys.executable, "-c", source], capture_output=True, text=True, check=True
        ).stdout

    return run


@pytest.fixture
def full_disk():
    """A context manager (limit): files can grow to so many bytes and no further, which fails as a
    full disk does.
    """

    @contextmanager
    def full(limit=0):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return full


@pytest.fixture(scope="session")
def random_model():
    """A function (seed=0, **config) -> an MDLM in eval mode all of whose weights are random, none
    left at zero.
    """
    from stepimp.models.mdlm import MDLMForMaskedLM
    from stepimp.models.mdlm_config import MDLMConfig

    def build(seed=0, **config):
        model = MDLMForMaskedLM(MDLMConfig(**{"vocab_size": 24, "n_blocks": 2, **SHAPE, **config}))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                centre = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
                parameter.copy_(centre + 0.3 * torch.randn(parameter.shape, generator=generator))
        return model.eval()

    return build


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory):
    """Path of a text file of a few thousand words, the same in every session."""
    pytest.importorskip("datasets", reason="datasets, which reads text, is not installed")
    words = [
        "the",
        "a",
        "step",
        "model",
        "light",
        "heavy",
        "mask",
        "token",
        "noise",
        "sample",
        "of",
        "and",
        "in",
        "to",
        "curve",
        "layer",
        "runs",
        "learns",
        "reads",
    ]
    draw = random.Random(0)
    lines = (" ".join(draw.choices(words, k=draw.randint(4, 12))) + "." for _ in range(600))
    file = tmp_path_factory.mktemp("text") / "tiny.txt"
    file.write_text("\n".join(lines), "utf-8")
    return file


def write_judge(folder, data, context=24):
    """A random GPT-2 with a tokenizer of its own; its weights are large, so that it has
    opinions.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    from stepimp.text.blocks import train_tokenizer

    tokenizer, ends = train_tokenizer(data, 290), dict.fromkeys(["bos_token_id", "eos_token_id"], 0)
    sizes = dict(n_positions=context, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3)
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes, **ends)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_judge(tiny_family):
    """The judge of the tiny family, loaded; it reads 24 tokens at once."""
    from stepimp.quality.judge import judge_of, load_judge

    return load_judge(judge_of(tiny_family), "cpu")


@pytest.fixture(scope="session")
def tiny_family(tmp_path_factory, tiny_text, random_model):
    """Path of a family of random models, "2b", "1b" and "2b_seed2", written as a training would
    write them; a judge.
    """
    from stepimp.models.checkpoints import fingerprint
    from stepimp.models.family import SCHEMA, write_manifest
    from stepimp.text.blocks import train_tokenizer

    folder = tmp_path_factory.mktemp("family")
    tokenizer = train_tokenizer(str(tiny_text), 280)
    tokenizer.save_pretrained(folder)
    facts = {}
    for name, (blocks, seed) in MEMBERS.items():
        model = random_model(10 * blocks + seed, n_blocks=blocks, vocab_size=len(tokenizer))
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        facts[name] = {
            "blocks": blocks,
            "seed": seed,
            "heldout_nelbo_nats": 5.0,
            "fingerprint": fingerprint(model),
        }
    write_manifest(folder, {"schema": SCHEMA, "members": facts})
    write_judge(folder / "judge", str(tiny_text))
    return folder
