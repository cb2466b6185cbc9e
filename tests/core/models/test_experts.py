"""Experts in one tensor: each is a layer, with the tokens that its router sends it, in memory, packed and streamed."""

import shutil

import pytest
import torch

from eggs_core.assets import ASSETS
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.models.architectures import linear_layers
from eggs_core.models.checkpoint import Checkpoint
from eggs_core.models.expert_linear import ExpertLinear
from eggs_core.models.experts import experts_per_token, open_experts
from eggs_core.models.loading import load
from eggs_core.packed.byte_counts import decode_bytes, size_breakdown
from eggs_core.packed.model import packed_copy
from eggs_core.pattern import NMPattern
from eggs_core.pruning.loop import prune
from eggs_core.pruning.out_of_core import StreamedPruning
from tools.tiny_architectures import build

P24, CPU = NMPattern(2, 4), torch.device("cpu")
TOKENS = torch.randint(5, 120, (4, 24), generator=torch.Generator().manual_seed(1))


def saved(model, folder):
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ASSETS / "models" / "tiny-llama" / name, folder)
    return folder


@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss", "llama4_text", "dbrx", "jetmoe"])
def test_opening_copies_nothing_and_changes_nothing(kind):
    model = build(kind)
    with torch.no_grad():
        before = model(input_ids=TOKENS, use_cache=False).logits
        names, numbers = list(model.state_dict()), sum(p.numel() for p in model.parameters())
        open_experts(open_experts(model))
        assert torch.allclose(model(input_ids=TOKENS, use_cache=False).logits, before, atol=1e-5)
    assert (list(model.state_dict()), sum(p.numel() for p in model.parameters())) == (names, numbers)
    experts = [layer for layer in linear_layers(model) if isinstance(layer.module, ExpertLinear)]
    assert experts and all(layer.mixture for layer in experts)
    experts[0].set_weight(torch.zeros(experts[0].shape))
    assert not experts[0].module.shared[0].any() or experts[0].module.experts > 1


def test_an_expert_is_pruned_by_the_tokens_of_its_router():
    model = open_experts(build("mixtral"))
    seen = {}
    layer = next(x for x in linear_layers(model) if x.mixture and "gate_up" in x.name)
    hook = layer.module.register_forward_pre_hook(lambda _m, args: seen.setdefault("x", args[0]))
    with torch.no_grad():
        model(input_ids=TOKENS, use_cache=False)
    hook.remove()
    assert 0 < len(seen["x"]) < TOKENS.numel()
    weight = layer.weight()
    report = next(r for r in prune(model, TOKENS, make_config("m", "2:4", "wanda")) if r.name == layer.name)
    scores = weight.abs() * seen["x"].square().sum(0).sqrt()
    kept = torch.zeros_like(scores, dtype=torch.bool).view(len(weight), -1, 4)
    kept.scatter_(2, scores.view(len(weight), -1, 4).topk(2, -1).indices, True)
    assert torch.equal(report.mask, kept.view_as(report.mask))
    few = [note for note in report.notes if "fewer than its 32 inputs" in note]
    assert bool(few) == (len(seen["x"]) < 32)


def test_routers_stay_dense():
    names = {layer.projection for layer in linear_layers(open_experts(build("qwen2_moe")))}
    assert "mlp.shared_expert.down_proj" in names
    assert not any(name.endswith(("gate", "router", "shared_expert_gate")) for name in names)


def test_packed_experts_take_no_dense_bytes():
    model = open_experts(build("mixtral"))
    reports = list(prune(model, TOKENS, make_config("m", "2:4", "magnitude")))
    masks = {r.name: r.mask for r in reports}
    packed = packed_copy(model, masks, P24)
    assert not any(p.dim() == 3 for p in packed.parameters()) and any(p.dim() == 3 for p in model.parameters())
    assert size_breakdown(packed) == size_breakdown(model, masks, P24)


@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss"])
def test_streamed_experts_are_those_of_memory(tmp_path, kind):
    model = build(kind)
    folder = saved(model, tmp_path / "model")
    config = make_config("m", "2:4", "ria")
    job = StreamedPruning(Checkpoint(str(folder), CPU), config, TOKENS, TOKENS, tmp_path / "out")
    job.capture()
    streamed = list(job.prune())
    job.evaluate()
    job.finish()
    job.close()
    whole = list(prune(open_experts(model), TOKENS, config))
    assert [r.name for r in streamed] == [r.name for r in whole]
    assert all(torch.equal(a.mask, b.mask) for a, b in zip(streamed, whole, strict=True))
    back = type(model).from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        expected = model(input_ids=TOKENS, use_cache=False).logits
        assert torch.allclose(back(input_ids=TOKENS, use_cache=False).logits, expected, atol=1e-6)


def test_what_cannot_be_streamed_is_refused_before_a_block_is_pruned(tmp_path):
    folder = saved(build("gemma4_text"), tmp_path / "model")
    job = StreamedPruning(
        Checkpoint(str(folder), CPU), make_config("m", "2:4", "ria"), TOKENS, TOKENS, tmp_path / "out"
    )
    with pytest.raises(EggsError, match="can only be pruned whole, in memory"):
        job.capture()
    job.close()


def test_a_head_that_differs_from_the_embeddings_is_kept(tmp_path):
    model = build("llama")
    model.config.tie_word_embeddings = False
    folder = saved(model, tmp_path / "model")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"tie_word_embeddings": false', '"tie_word_embeddings": true'))
    assert '"tie_word_embeddings": true' in (folder / "config.json").read_text()
    loaded = load(str(folder), CPU)
    assert torch.equal(loaded.model.lm_head.weight, model.lm_head.weight)
    assert loaded.model.config.tie_word_embeddings is False
    assert "lm_head.weight" in Checkpoint(str(folder), CPU).stored


def test_rwkv_keeps_its_weights_when_it_is_evaluated(tmp_path):
    model = build("rwkv")
    model.config.rescale_every = 2
    loaded = load(str(saved(model, tmp_path / "model")), CPU).model
    before = {name: tensor.clone() for name, tensor in loaded.state_dict().items()}
    with torch.no_grad():
        loaded(input_ids=TOKENS, use_cache=False)
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.state_dict().items())


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "dbrx", "jetmoe"])
def test_a_token_reads_the_experts_that_it_is_sent_to(kind):
    model = open_experts(build(kind))
    count = experts_per_token(model.config)
    shared = {id(module.shared): module for module in model.modules() if isinstance(module, ExpertLinear)}
    assert shared and count
    everything = sum(p.nbytes for p in model.parameters())
    unread = sum(m.shared.nbytes * (1 - count / m.experts) for m in shared.values())
    rows = [m for m in model.modules() if isinstance(m, torch.nn.Embedding)]
    unread += sum(m.weight.nbytes - m.weight.nbytes // m.num_embeddings for m in rows)
    head = model.get_output_embeddings().weight
    tied = any(m.weight is head for m in rows)
    assert decode_bytes(model)["total"] == pytest.approx(everything - unread + tied * head.nbytes, rel=1e-3)
