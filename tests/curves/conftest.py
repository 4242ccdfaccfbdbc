import pytest


@pytest.fixture(scope="module")
def three(random_model):
    """Heavy, light, and another seed of the heavy one."""
    models = {
        "heavy": random_model(1),
        "light": random_model(2, n_blocks=1),
        "seed2": random_model(3),
    }
    for name, model in models.items():
        model.freeze().fingerprint = name
    return models
