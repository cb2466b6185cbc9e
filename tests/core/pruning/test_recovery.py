"""Distillation of what pruning kept: masks stay, losses fall, a killed training goes on, the best is kept."""

import copy
import math
from functools import partial

import pytest
import torch
from torch.nn.functional import kl_div

from eggs_core.errors import EggsError
from eggs_core.masks.selection import topn
from eggs_core.models.architectures import BLOCK_PATHS, linear_layers
from eggs_core.models.experts import open_experts
from eggs_core.packed.grid import Grid
from eggs_core.pattern import NMPattern
from eggs_core.progress import Progress
from eggs_core.pruning import recovery
from eggs_core.pruning.recovery import BATCH, POINTS, Learned, Lesson, RecoveryPoint, check_zeros, distil
from eggs_core.pruning.trained import Trained

pytestmark = pytest.mark.usefixtures("one_thread")
PATTERN = NMPattern(2, 4)


def pruned(teacher, pattern=PATTERN):
    """A copy without the smallest weights, and the masks."""
    student, masks = copy.deepcopy(teacher), {}
    for layer in linear_layers(student):
        masks[layer.name] = topn(layer.weight().abs(), pattern)
        layer.apply_mask(masks[layer.name])
    return student, masks


def lesson(batches=6, rate=3e-3, length=16, **options) -> Lesson:
    generator = torch.Generator().manual_seed(1)
    training, held_out = (torch.randint(0, 64, (n, length), generator=generator) for n in (batches * BATCH, 4))
    return Lesson(training, held_out, rate, **options)


def run(steps) -> tuple[Learned, list]:
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return end.value, seen


def rounded(student, masks) -> dict:
    """The student's kept weights rounded in place, and how each layer rounds."""
    roundings = {}
    for layer in linear_layers(student):
        order = torch.randperm(layer.shape[1], generator=torch.Generator().manual_seed(3))
        values = layer.weight()[:, order][masks[layer.name][:, order]].view(layer.shape[0], -1)
        scales = values[:, :32].abs().amax(1, keepdim=True) / 2
        grid = Grid(3, scales.repeat(1, -(-values.shape[1] // 32)).half())
        roundings[layer.name] = partial(grid.rounded, pattern=PATTERN, order=order)
        layer.set_weight(roundings[layer.name](layer.weight()))
    return roundings


def parameters(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_rounded_weights_learn_and_stay_rounded(tiny_model):
    teacher = tiny_model("llama")
    student, masks = pruned(teacher)
    roundings = rounded(student, masks)
    began = parameters(student)
    learned, _ = run(distil(student, teacher, masks, lesson(40, rate=2e-3), roundings))
    assert learned.best.loss < 0.9 * learned.curve[0].loss
    check_zeros(student, masks)
    for layer in linear_layers(student):
        assert torch.equal(layer.weight(), roundings[layer.name](layer.weight())), layer.name
        assert not torch.equal(layer.weight(), began[f"{layer.name}.weight"])
        assert layer.weight().unique().numel() <= 8 * layer.shape[0]


def test_rounded_weights_go_on_after_a_kill(tiny_model, tmp_path):
    teacher, file = tiny_model("llama"), tmp_path / "state.safetensors"
    whole, masks = pruned(teacher)
    expected, _ = run(distil(whole, teacher, masks, lesson(), rounded(whole, masks)))
    student, _ = pruned(teacher)
    roundings = rounded(student, masks)
    steps = distil(student, teacher, masks, lesson(checkpoint=file, key="mine"), roundings)
    next(step for step in steps if isinstance(step, RecoveryPoint) and step.step == 3)
    steps.close()
    again, _ = run(distil(student, teacher, masks, lesson(checkpoint=file, key="mine"), roundings))
    assert again.curve == expected.curve
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), student.parameters(), strict=True))


def test_the_student_comes_closer_and_nothing_but_kept_weights_and_norms_moves(tiny_model):
    teacher = tiny_model("llama")
    before = parameters(teacher)
    student, masks = pruned(teacher)
    began = parameters(student)
    learned, seen = run(distil(student, teacher, masks, lesson()))
    assert learned.best.loss < 0.7 * learned.curve[0].loss
    assert all(torch.equal(before[name], p) for name, p in teacher.named_parameters())
    changed = {name for name, p in student.named_parameters() if not torch.equal(began[name], p)}
    layers = {f"{name}.weight" for name in masks}
    assert changed == layers | {name for name in began if "norm" in name}
    check_zeros(student, masks)
    for layer in linear_layers(student):
        groups = (layer.weight() != 0).view(layer.shape[0], -1, PATTERN.group).sum(-1)
        assert (groups == PATTERN.keep).all()
    assert all(p.grad is None and p.requires_grad for p in student.parameters())
    shares = [event.share for event in seen if isinstance(event, Progress)]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert [e for e in seen if isinstance(e, RecoveryPoint)] == learned.curve


def test_the_gradient_is_that_of_the_divergence_whatever_the_chunks(tiny_model, monkeypatch):
    teacher = tiny_model("llama")
    student, _ = pruned(teacher)
    windows = torch.randint(0, 64, (3, 16))
    found = student(input_ids=windows).logits.log_softmax(-1).flatten(0, 1)
    with torch.no_grad():
        wanted = teacher(input_ids=windows).logits.log_softmax(-1).flatten(0, 1)
    loss = kl_div(found, wanted, log_target=True, reduction="batchmean")
    loss.backward()
    expected = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}
    monkeypatch.setattr(recovery, "CHUNK_LOGITS", 7 * 64)
    monkeypatch.setattr(recovery, "PART_LOGITS", 2 * 16 * 64)
    student.zero_grad()
    parts = list(recovery._parts(student, windows))
    assert [len(part) for part in parts] == [2, 1]
    total = sum(recovery._divergence(student, teacher, part, windows.numel()) for part in parts)
    assert total == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in student.named_parameters():
        if name in expected:
            assert torch.allclose(parameter.grad, expected[name], atol=1e-7), name


def test_a_training_that_was_stopped_goes_on_to_the_same_values(tiny_model, tmp_path):
    teacher = tiny_model("llama")
    whole, masks = pruned(teacher)
    learned, _ = run(distil(whole, teacher, masks, lesson()))
    file = tmp_path / "state.safetensors"
    student, _ = pruned(teacher)
    steps = distil(student, teacher, masks, lesson(checkpoint=file, key="mine"))
    for event in steps:
        if isinstance(event, RecoveryPoint) and event.step == 3:
            break
    steps.close()
    assert file.is_file()
    assert all(p.requires_grad and p.grad is None for p in student.parameters())
    student, _ = pruned(teacher)
    again, seen = run(distil(student, teacher, masks, lesson(checkpoint=file, key="mine")))
    assert again.curve == learned.curve
    assert [e.step for e in seen if isinstance(e, RecoveryPoint)] == [4, 5, 6]
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), whole.parameters(), strict=True))


@pytest.mark.parametrize("content", [b"", b"no tensors", None])
def test_a_checkpoint_that_is_damaged_or_of_another_run_is_not_taken(tiny_model, tmp_path, content):
    teacher = tiny_model("llama")
    student, masks = pruned(teacher)
    file = tmp_path / "state.safetensors"
    if content is None:
        steps = distil(student, teacher, masks, lesson(1, checkpoint=file, key="another"))
        next(event for event in steps if isinstance(event, RecoveryPoint))
        steps.close()
        student, _ = pruned(teacher)
    else:
        file.write_bytes(content)
    learned, _ = run(distil(student, teacher, masks, lesson(1, checkpoint=file, key="mine")))
    assert [point.step for point in learned.curve] == [0, 1]


def test_the_best_point_is_kept_where_training_does_harm(tiny_model):
    teacher = tiny_model("llama")
    student, masks = pruned(teacher)
    began = parameters(student)
    learned, _ = run(distil(student, teacher, masks, lesson(2, rate=0.1)))
    assert learned.best.step == 0 and learned.curve[-1].loss > learned.curve[0].loss
    assert all(torch.equal(began[name], p) for name, p in student.named_parameters())


@pytest.mark.parametrize("kind", sorted(BLOCK_PATHS))
def test_every_architecture_learns_with_its_masks_in_place(tiny_model, kind):
    teacher = tiny_model(kind)
    student, masks = pruned(teacher)
    with Trained(student, linear_layers(student), masks) as trained:
        norms = [name for name in trained.parameters if name not in trained.masks]
        assert norms and set(trained.sizes()) == set(trained.parameters)
    learned, _ = run(distil(student, teacher, masks, lesson(1, length=8)))  # which checks the zeros
    assert math.isfinite(learned.best.loss)


def test_a_mixture_keeps_the_zeros_of_every_expert(tiny_model):
    teacher = tiny_model("mixtral", num_local_experts=2, num_experts_per_tok=1)
    open_experts(teacher)
    student, masks = pruned(teacher)
    assert any("expert" in name for name in masks)
    learned, _ = run(distil(student, teacher, masks, lesson(2)))
    assert learned.best.loss < learned.curve[0].loss


def test_half_precision_is_trained_in_fp32_and_given_back_as_it_was(tiny_model):
    teacher = tiny_model("llama").bfloat16()
    student, masks = pruned(teacher)
    learned, _ = run(distil(student, teacher, masks, lesson(3)))
    assert learned.best.loss < learned.curve[0].loss
    assert {p.dtype for p in student.parameters()} == {torch.bfloat16}


def test_a_broken_model_is_refused_and_a_changed_zero_is_seen(tiny_model):
    teacher = tiny_model("llama")
    student, masks = pruned(teacher)
    student.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(EggsError, match="NaN"):
        run(distil(student, teacher, masks, lesson(1)))
    student, masks = pruned(teacher)
    name = next(iter(masks))
    student.get_submodule(name).weight.data[~masks[name]] = 1e-9
    with pytest.raises(RuntimeError, match=name):
        check_zeros(student, masks)


def test_the_rate_rises_and_falls_and_the_curve_is_measured_evenly():
    one = lesson(100, rate=1.0)
    rates = [one.rate_at(step) for step in range(one.steps)]
    assert one.steps == 100 and rates[0] == pytest.approx(0.2) and max(rates) == pytest.approx(1.0, abs=0.02)
    assert rates[-1] < 0.001 and rates[5:] == sorted(rates[5:], reverse=True)
    measured = [step for step in range(1, 101) if recovery._is_point(step, 100)]
    assert len(measured) == POINTS and measured[-1] == 100


@pytest.mark.gpu
def test_on_cuda(tiny_model):
    teacher = tiny_model("llama").cuda()
    student, masks = pruned(teacher)
    learned, _ = run(distil(student, teacher, masks, lesson()))
    assert learned.best.loss < 0.7 * learned.curve[0].loss
