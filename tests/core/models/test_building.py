"""A model of 16 bits is made as transformers makes it, without another default dtype for the threads beside it."""

import copy
from threading import Thread

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_utils import local_torch_dtype

from benchmarks.architectures import QUICK
from eggs_core.models.building import building, default_dtype_here, from_files
from eggs_core.models.meta import skeleton
from tools.tiny_architectures import ARCHITECTURES, tiny_config

HALVES = (torch.float16, torch.bfloat16)


def dtypes(model: PreTrainedModel) -> dict[str, torch.dtype]:
    """Of every parameter and buffer, by name."""
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    return {name: tensor.dtype for name, tensor in named}


def as_transformers(config: object, dtype: torch.dtype) -> PreTrainedModel:
    """A model as transformers itself makes it."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


@pytest.fixture
def seen_beside(monkeypatch) -> list[torch.dtype]:
    """The dtypes that another thread gets, by default, while layers are made."""
    found, make = [], nn.Linear.__init__

    def look() -> None:
        found.extend((torch.get_default_dtype(), torch.ones(2).dtype))

    def made(self, *args, **options) -> None:
        if not found:
            beside = Thread(target=look)
            beside.start()
            beside.join()
        make(self, *args, **options)

    monkeypatch.setattr(nn.Linear, "__init__", made)
    return found


def test_transformers_itself_changes_it_for_every_thread(seen_beside):
    as_transformers(tiny_config("llama"), torch.float16)
    assert seen_beside == [torch.float16, torch.float16]


@pytest.mark.parametrize("dtype", HALVES)
def test_a_skeleton_leaves_other_threads_their_default_dtype(seen_beside, dtype):
    model = skeleton(tiny_config("llama"), dtype=dtype)
    assert model.dtype == dtype and seen_beside == [torch.float32, torch.float32]


def test_so_does_one_whose_config_says_16_bits(seen_beside):
    config = tiny_config("llama")
    config.dtype = torch.float16
    assert skeleton(config).dtype == torch.float16 and seen_beside == [torch.float32, torch.float32]


def test_so_does_a_model_that_is_read(seen_beside, small_folder):
    model, lost = from_files(str(small_folder), dtype=torch.bfloat16)
    assert model.dtype == torch.bfloat16 and not lost and seen_beside == [torch.float32, torch.float32]


# Fixed parts in fp32, buffers, experts in one tensor, state spaces; all others are slow together.
SOME = {
    "llama",
    "opt",
    "mixtral",
    "mamba",
    "gemma3_text",
    "deepseek_v3",
    "bloom",
    "qwen3_next",
    "granitemoehybrid",
    "xglm",
}
KINDS = (*QUICK, "xglm")  # which asks torch for its default dtype


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[] if k in SOME else [pytest.mark.slow]) for k in KINDS])
@pytest.mark.parametrize("dtype", HALVES)
def test_every_tensor_has_the_dtype_that_transformers_gives_it(kind, dtype):
    config = tiny_config(kind)
    assert dtypes(skeleton(copy.deepcopy(config), dtype=dtype)) == dtypes(as_transformers(config, dtype))


def test_some_are_tried_in_any_case():
    assert set(KINDS) >= SOME and set(KINDS) <= set(ARCHITECTURES)


MADE = {
    "a size": lambda: torch.empty(2, 3),
    "no dtype, said": lambda: torch.zeros((2,), dtype=None),
    "numbers": lambda: torch.tensor([1.0, 2.0]),
    "NumPy's numbers": lambda: torch.tensor(torch.ones(2, dtype=torch.float32).numpy()),
    "whole numbers": lambda: torch.arange(4),
    "whole numbers, divided": lambda: torch.arange(4) / 2,
    "whole numbers, as fp32": lambda: torch.arange(4).float(),
    "whole numbers, to fp32": lambda: torch.arange(4).to(torch.float32),
    "from fp32": lambda: torch.ones(2, dtype=torch.float32) * 2,
    "like fp32": lambda: torch.zeros_like(torch.ones(2, dtype=torch.float32)),
    "joined": lambda: torch.cat([torch.ones(2, dtype=torch.float32), torch.ones(2, dtype=torch.float32)]),
    "asked for": lambda: torch.arange(4).to(torch.get_default_dtype()),
    "a parameter": lambda: nn.Parameter(torch.ones(2)),
    "wanting a gradient": lambda: torch.ones(2, requires_grad=True),
}


@pytest.mark.parametrize("how", MADE)
def test_a_tensor_gets_the_dtype_that_it_gets_from_torch(how):
    with local_torch_dtype(torch.bfloat16):
        expected = MADE[how]()
    with default_dtype_here(torch.bfloat16):
        made = MADE[how]()
    assert (made.dtype, made.requires_grad, made.is_leaf) == (expected.dtype, expected.requires_grad, expected.is_leaf)
    assert torch.ones(2).dtype == torch.float32


def test_transformers_has_its_own_function_again_afterwards():
    with pytest.raises(KeyError), building(), building():
        raise KeyError
    from transformers import modeling_utils

    with default_dtype_here(torch.bfloat16):
        pass
    assert torch.get_default_dtype() == torch.float32 and "lambda" not in repr(torch.get_default_dtype)
    assert modeling_utils.local_torch_dtype is local_torch_dtype


def test_a_dtype_of_whole_numbers_is_refused():
    with pytest.raises(ValueError, match="Tiny cannot be made of"):
        default_dtype_here(torch.int8, "Tiny")
