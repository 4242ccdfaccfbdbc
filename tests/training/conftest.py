import pytest
from small_training import train


@pytest.fixture(scope="session")
def text(tmp_path_factory, tiny_text):
    """A little less than two epochs of the recipe."""
    file = tmp_path_factory.mktemp("text") / "short.txt"
    file.write_text(tiny_text.read_text()[:700])
    return file


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("whole")
    return folder, dict(train(folder, text))
