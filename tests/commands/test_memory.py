"""What to say of too little memory, and of a compiler that is missing."""

import click
import numpy as np
import pytest
import torch

from stepimp.commands._errors import explained

TERABYTE = 10**12


def numpy_array():
    np.empty(400 * TERABYTE)


def torch_tensor():
    torch.empty(400 * TERABYTE)


def on_a_gpu():
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has")


def of_python():
    raise MemoryError


ASKED = {
    numpy_array: r"Out of memory: 2.84 PiB were asked for\. Use smaller batches",
    torch_tensor: r"Out of memory: 1,600,000.0 GB were asked for\.",
    on_a_gpu: r"Out of memory: 20.00 GiB were asked for\.",
    of_python: r"Out of memory\. Use smaller",
}


@pytest.mark.parametrize("work, message", ASKED.items(), ids=lambda case: str(case)[:20])
def test_how_much_was_asked_for(work, message):
    with pytest.raises(click.ClickException, match=message), explained():
        work()


def test_a_panic_of_a_library_in_rust_is_one_line():
    class PanicException(BaseException):
        pass

    with pytest.raises(click.ClickException, match="A library failed"), explained():
        raise PanicException("capacity overflow")


def test_another_runtime_error_is_a_bug():
    with pytest.raises(RuntimeError) as error, explained():
        raise RuntimeError("shapes differ")
    assert "bug in stepimp" in error.value.__notes__[0]


def no_compiler(graph, inputs):
    raise RuntimeError("No working C++ compiler found")


def test_a_model_that_does_not_compile_is_no_bug():
    function = torch.compile(lambda x: x.sin().cos(), backend=no_compiler)
    with pytest.raises(click.ClickException, match="does not compile here.*C"), explained():
        function(torch.ones(3))
