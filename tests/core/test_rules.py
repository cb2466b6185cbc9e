"""Rules that give layers a pattern of their own, and the plan that they make of a model."""

import pytest
import torch

from eggs_core.config import PruneConfig, make_config
from eggs_core.errors import EggsError
from eggs_core.models.architectures import linear_layers
from eggs_core.packed.model import packed_copy
from eggs_core.pattern import NMPattern
from eggs_core.pruning.loop import prune
from eggs_core.pruning.plan import plan_for
from eggs_core.rules import Rule, plan_name, read_plan

P24 = NMPattern(2, 4)


def windows() -> torch.Tensor:
    return torch.randint(0, 64, (6, 20), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("text", "block", "projection", "fits"),
    [
        ("mlp.down_proj=3:4", 0, "mlp.down_proj", True),
        ("mlp.*=3:4", 5, "mlp.up_proj", True),
        ("mlp.*=3:4", 5, "self_attn.q_proj", False),
        ("blocks 1,3-4=dense", 0, "mlp.up_proj", True),
        ("blocks 1,3-4=dense", 1, "mlp.up_proj", False),
        ("block 2 mlp.*=1:4", 1, "mlp.up_proj", True),
        ("model.layers.0.mlp.up_proj=1:4", 0, "mlp.up_proj", True),
        ("mlp.experts.*.gate_up_proj=1:4", 0, "mlp.experts.7.gate_up_proj", True),
    ],
)
def test_what_a_rule_is_for(text, block, projection, fits):
    rule = Rule.parse(text)
    assert rule.fits(f"model.layers.{block}.{projection}", block, projection) is fits
    assert Rule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    "text", ["", "mlp", "=2:4", "blocks 0=dense", "blocks 3-1=dense", "mlp=5:4", "mlp=half", "a\nb=2:4"]
)
def test_what_is_no_rule_is_a_sentence(text):
    with pytest.raises(EggsError, match=r"\.$"):
        make_config("m", "2:4", "ria", layers=[text])


def test_a_plan_is_part_of_the_key_only_where_there_is_one(tmp_path):
    plain = make_config("m", "2:4", "ria")
    ruled = make_config("m", "2:4", "ria", layers=[" mlp.* = 1:4 "])
    assert plain.key() == make_config("m", "2:4", "ria", layers=[]).key() != ruled.key()
    assert "layers" not in plain.to_dict() and ruled.layers == ("mlp.*=1:4",)
    assert PruneConfig.from_dict(ruled.to_dict()) == ruled and "--layer 'mlp.*=1:4'" in ruled.command_line()
    (file := tmp_path / "plan.yaml").write_text("pattern: '1:4'\nlayers: ['blocks 1=dense']\n")
    assert read_plan(file) == {"pattern": "1:4", "layers": ("blocks 1=dense",)}
    file.write_text("other: 1\n")
    with pytest.raises(EggsError, match="must hold `layers`"):
        read_plan(file)


def test_the_last_rule_counts_and_one_that_fits_nothing_is_refused(tiny_model):
    model = tiny_model("llama")
    plan = plan_for(model, P24, ["mlp.*=1:4", "mlp.down_proj=3:4", "blocks 2=dense"])
    own = {name.removeprefix("model.layers."): str(pattern) for name, pattern in plan.patterns.items()}
    assert (own["0.mlp.up_proj"], own["0.mlp.down_proj"], own["0.self_attn.q_proj"]) == ("1:4", "3:4", "2:4")
    assert all(name.startswith("model.layers.1.") for name in plan.dense)
    assert set(plan.dense.values()) == {"the rule blocks 2=dense"}
    with pytest.raises(EggsError, match=r"'mlp\.nothing=1:4' fits no layer"):
        plan_for(model, P24, ["mlp.nothing=1:4"])
    with pytest.raises(EggsError, match="No layer of this model is left"):
        plan_for(model, P24, ["*=dense"])


def test_a_width_that_does_not_divide_stays_dense_and_is_named(tiny_model):
    model = tiny_model("llama", intermediate_size=44)
    before = {layer.name: layer.weight() for layer in linear_layers(model)}
    plan = plan_for(model, NMPattern(4, 8))
    assert plan.dense == dict.fromkeys(
        [f"model.layers.{i}.mlp.down_proj" for i in range(2)], "its 44 inputs are no multiple of 8"
    )
    reports = list(prune(model, windows(), make_config("m", "4:8", "ria", layers=["self_attn.*=2:4"])))
    assert {r.name: r.pattern for r in reports} == plan_for(model, NMPattern(4, 8), ["self_attn.*=2:4"]).patterns
    for layer in linear_layers(model):
        assert ((layer.weight() == before[layer.name]).all() == (layer.name in plan.dense)).item()
    for report in reports:
        assert report.mask.view(report.shape[0], -1, report.pattern.group).sum(-1).unique().tolist() == [
            report.pattern.keep
        ]


def test_siblings_with_patterns_of_their_own_compute_what_they_should(tiny_model):
    model = tiny_model("llama")
    rules = ["self_attn.k_proj=1:4", "self_attn.v_proj=4:8", "mlp.up_proj=dense"]
    reports = list(prune(model, windows(), make_config("m", "2:4", "ria", layers=rules)))
    packed = packed_copy(model, {r.name: r.mask for r in reports}, {r.name: r.pattern for r in reports})
    with torch.no_grad():
        for ids in (windows()[:1, :1], windows()[:1, :3], windows()):
            expected = model(input_ids=ids, use_cache=False).logits
            assert torch.allclose(packed(input_ids=ids, use_cache=False).logits, expected, atol=1e-5)


def test_a_plan_is_read_as_it_is_written(tmp_path):
    (file := tmp_path / "plan.yaml").write_text("pattern: 2:4\nlayers:\n- mlp.down_proj=3:4\n")
    assert read_plan(file) == {"pattern": "2:4", "layers": ("mlp.down_proj=3:4",)}
    with pytest.raises(EggsError, match="cannot be read: No such file"):
        read_plan(tmp_path / "nothing.yaml")


def test_plans_are_told_apart_where_there_is_little_room():
    assert plan_name(()) == "" and plan_name(("mlp.down_proj=3:4",)) == "mlp.down_proj=3:4"
    long = tuple(f"blocks {block}=3:4" for block in range(1, 5))
    names = {plan_name(long), plan_name(long[:3]), plan_name(long[::-1])}
    assert len(names) == 3 and all(len(name) == 9 and name.startswith("plan ") for name in names)
    config = make_config("m", "2:4", "ria", layers=long)
    assert config.in_words() == f"RIA · {plan_name(long)}"
    assert make_config("m", "2:4", "ria").in_words() == "RIA"
