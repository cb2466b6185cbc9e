"""Pruning a checkpoint that is larger than memory: one decoder block at a time, resumable after a kill at any point."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from safetensors import safe_open

from eggs_core.config import PruneConfig
from eggs_core.device import free_memory
from eggs_core.errors import EggsError
from eggs_core.evaluation.perplexity import WindowScores, join, score_windows, windows_at_once
from eggs_core.files import DiskFull, check_disk, write_json, write_tensors
from eggs_core.heavy import nn, safetensors_torch, torch
from eggs_core.masks.bits import pack_bits
from eggs_core.masks.disk_use import keeps_topn, needed_bytes
from eggs_core.models.checkpoint import Checkpoint
from eggs_core.models.fingerprints import same_weights
from eggs_core.models.folder import INDEX
from eggs_core.pruning.activation_store import LOCK, STATE, WORK, Spool
from eggs_core.pruning.activations import TOKENS_PER_BATCH, Activations
from eggs_core.pruning.block_calls import replaced
from eggs_core.pruning.block_fit import FitStep, tokens_per_batch, windows_read
from eggs_core.pruning.loop import LayerReport, prune_blocks
from eggs_core.pruning.plan import plan_for
from eggs_core.report_types import LayerEntry

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

CALIBRATION = ("calibration", "target")  # on its way through the pruned model; for a fit, through the dense one
TENSOR_KINDS = (".mask", ".topn", ".permutation")
MEMORY_SHARE = 8  # activations stay in memory if they take at most one part of so many of what is available


@dataclass(frozen=True, slots=True)
class Streamed:
    """What came of it: plain layer reports, packed masks and orders by layer name, and the two evaluations."""

    layers: list[LayerEntry]
    masks: dict[str, torch.Tensor]
    topn: dict[str, torch.Tensor]
    permutations: dict[str, torch.Tensor]
    dense: WindowScores
    pruned: WindowScores


class StreamedPruning:
    """Prune a checkpoint into the folder `out`, from where an earlier process with the same input stopped.

    calibration, evaluation: (windows, length) int64 tokens. Both evaluations go along block by block: that of the dense
    model passes a block before it is pruned, the other one afterwards. Raises EggsError, before any work, if the
    pattern does not fit, the disk has too little room, another process works in `out`, or `out` holds something else.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: PruneConfig,
        calibration: torch.Tensor,
        evaluation: torch.Tensor,
        out: Path,
        devices: Sequence[torch.device] = (),
    ) -> None:
        self.plan = plan_for(checkpoint.model, config.pattern, config.layers)
        self.path, self._checkpoint, self._config = checkpoint.path, checkpoint, config
        read = windows_read(checkpoint.model, calibration, config)
        targets = {"target": read} if config.fits else {}
        self._windows = {"calibration": read, "dense": evaluation, "pruned": evaluation, **targets}
        self._out, self._work, self._devices = Path(out), Path(out) / WORK, devices
        self._shapes, self._reports = self.plan.shapes, list[LayerReport]()
        self._lock = FileLock(self._make_folder() / LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise EggsError(f"Another process is pruning into {out}; wait for it or choose another folder.") from error
        try:
            self.finished = self._resume()
            self._check_disk()
        except BaseException:
            self._lock.release()
            raise
        self._spools = {name: self._spool(name) for name in self._windows}
        self._activations: dict[str, Activations] = {}

    def __len__(self) -> int:
        return len(self._checkpoint)

    @property
    def total_layers(self) -> int:
        """How many layers all blocks have."""
        return len(self._shapes)

    def close(self) -> None:
        """Let another process go on."""
        self._lock.release()

    def capture(self) -> None:
        """Bring the tokens before the next block: through the embeddings, or as an earlier process left them."""
        checkpoint, whole = self._checkpoint, self.finished == len(self)
        with self._explained(), checkpoint.load_outer(head=False), checkpoint.load_block(0):
            for name, windows in self._windows.items():
                if not (whole and name in CALIBRATION):  # nothing goes on from the last block but evaluation
                    spool = self._spools[name]
                    if self.finished >= 0 and not spool:
                        raise self._incomplete()
                    tokens = tokens_per_batch(self._config) if name in CALIBRATION else TOKENS_PER_BATCH
                    found = Activations(checkpoint.model, checkpoint.blocks, windows, spool, tokens)
                    if len(spool) != len(found.batches):
                        raise self._incomplete()
                    if not found.shared():
                        kind = checkpoint.config.model_type
                        raise EggsError(
                            f"The architecture {kind!r} hands its blocks more than hidden states, so it can only be "
                            f"pruned whole, in memory; take a machine with more of it."
                        )
                    self._activations[name] = found
            if self.finished < 0:
                self._commit(0)

    def prune(self) -> Iterator[LayerReport | FitStep]:
        """Prune the blocks that are left, yielding layers and steps of fits; a block is kept once it is complete."""
        if self.finished == len(self):
            return
        tokens, patterns = self._activations, self.plan.patterns
        calibration, target = tokens["calibration"], tokens.get("target")
        streams = prune_blocks(self, calibration, self._config, patterns, self.finished, self._devices, target)
        with self._explained():
            for event in streams:
                if isinstance(event, LayerReport):
                    self._reports.append(event)
                yield event

    @contextmanager
    def load_block(self, number: int) -> Iterator[nn.Module]:
        """A block from the checkpoint; what is left of it at the end goes to disk. The pruning loop calls this."""
        with self._checkpoint.load_block(number) as block:
            self._activations["dense"].advance(number, block)
            yield block
            self._activations["pruned"].advance(number, block)
            self._keep(number)
        self._commit(number + 1)

    def evaluate(self) -> None:
        """Score both models' last hidden states with the final norm and the LM head."""
        checkpoint = self._checkpoint
        with self._explained(), checkpoint.load_outer(head=True):
            for name in ("dense", "pruned"):
                scores = _score(checkpoint.model, list(checkpoint.blocks), self._activations[name])
                found = {"nats": scores.nats, "top1": scores.top1, "top5": scores.top5}
                write_tensors(self._work / f"{name}.safetensors", found)

    def finish(self) -> Streamed:
        """Complete the Hugging Face folder (other weights, index, config, tokenizer) and say what came of it."""
        checkpoint = self._checkpoint
        with self._explained():
            write_tensors(self._out / self._shard(0), checkpoint.outer_tensors(), {"format": "pt"})
            written = {key: shard for shard in map(self._shard, range(len(self) + 1)) for key in self._keys(shard)}
            write_json(self._out / INDEX, {"metadata": {"total_size": checkpoint.nbytes}, "weight_map": written})
            try:
                checkpoint.saved_config.save_pretrained(self._out)
                checkpoint.tokenizer.save_pretrained(self._out)
                if (source := checkpoint.folder / "generation_config.json").is_file():
                    shutil.copyfile(source, self._out / source.name)
            except OSError as error:
                raise EggsError(f"The model's configuration could not be written: {error.strerror}.") from error
        layers: list[LayerEntry] = []
        tensors: dict[str, torch.Tensor] = {}
        for number in range(len(self)):
            layers += json.loads(self._block(number, ".json").read_text(encoding="utf-8"))
            tensors |= safetensors_torch.load_file(self._block(number, ".safetensors"))
        dense, pruned = (
            WindowScores(**safetensors_torch.load_file(self._work / f"{n}.safetensors")) for n in ("dense", "pruned")
        )
        masks, topn, orders = (
            {name.removesuffix(kind): t for name, t in tensors.items() if name.endswith(kind)} for kind in TENSOR_KINDS
        )
        return Streamed(layers, masks, topn, orders, dense, pruned)

    def clear(self) -> None:
        """Remove what was needed to go on; call it once the result is saved."""
        shutil.rmtree(self._work, ignore_errors=True)

    def _make_folder(self) -> Path:
        try:
            self._work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EggsError(f"The folder {self._out} cannot be made: {error.strerror}; choose another.") from error
        return self._work

    def _resume(self) -> int:
        """How many blocks an earlier process finished, −1 if it got nowhere; its input must have been the same."""
        tokens = b"".join(w.numpy().tobytes() + repr(tuple(w.shape)).encode() for w in self._windows.values())
        self._input = {
            "config": self._config.key(),
            "weights": self._checkpoint.fingerprint,
            "dtype": str(self._checkpoint.dtype),
            "tokens": hashlib.sha256(tokens).hexdigest(),
        }
        try:
            state = json.loads((self._work / STATE).read_text(encoding="utf-8"))
            if same_weights(state["input"]["weights"], self._checkpoint):  # also by a fingerprint of an earlier version
                state["input"]["weights"] = self._input["weights"]
            if state["input"] != self._input:
                raise EggsError(
                    f"{self._out} holds an unfinished run of another model or configuration; "
                    f"choose another folder, or delete {self._work}."
                )
            return state["finished"]
        except FileNotFoundError:
            if any(self._out.glob("*.safetensors")) or (self._out / INDEX).exists():
                raise EggsError(f"{self._out} holds a model already; choose an empty folder.") from None
            return -1
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EggsError(f"{self._work / STATE} is damaged; delete {self._work} and start again.") from error

    def _check_disk(self) -> None:
        """Raise DiskFull if what is still to be written does not fit."""
        left = [n for i in range(max(self.finished, 0), len(self)) for n in self._checkpoint.names(i)]
        weights = self._checkpoint.written_bytes([*left, *self._checkpoint.names()])
        blocks = sum(rows * columns for rows, columns in self._shapes.values()) // 4  # their masks and top-N, as bits
        run = needed_bytes(self._shapes, self.plan.patterns)
        need = weights + blocks + run + 2 * self._activation_bytes()
        check_disk(self._out, need, f"Pruning {self._checkpoint.name} into {self._out}")

    def _activation_bytes(self) -> int:
        width = self._checkpoint.config.get_text_config().hidden_size  # some embeddings are narrower than their blocks
        return sum(w.numel() for w in self._windows.values()) * width * self._checkpoint.dtype.itemsize

    def _spool(self, name: str) -> Spool:
        fits = self._activation_bytes() * MEMORY_SHARE <= free_memory(torch.device("cpu"))
        folder, device = self._work / name, self._checkpoint.device
        if self.finished < 0:
            shutil.rmtree(folder, ignore_errors=True)  # a capture that was cut off
        return Spool(folder, device, fits, max(self.finished, 0))

    def _keep(self, number: int) -> None:
        """Write a finished block: its weights, its layers' reports, its masks."""
        tensors = {}
        for report in self._reports:
            tensors[report.name + ".mask"] = pack_bits(report.mask)
            if keeps_topn(self._shapes.values()):
                tensors[report.name + ".topn"] = pack_bits(report.topn_mask)
            if report.permutation is not None:
                tensors[report.name + ".permutation"] = report.permutation
        weights = self._checkpoint.to_store(self._checkpoint.names(number))
        write_tensors(self._out / self._shard(number + 1), weights, {"format": "pt"})
        write_tensors(self._block(number, ".safetensors"), tensors)
        write_json(self._block(number, ".json"), [report.to_dict() for report in self._reports])
        self._reports.clear()

    def _commit(self, finished: int) -> None:
        """From here on another process goes on with block number `finished`."""
        write_json(self._work / STATE, {"input": self._input, "finished": finished})
        if finished:
            for spool in self._spools.values():
                spool.step()
        self.finished = finished

    def _shard(self, number: int) -> str:
        return f"model-{number + 1:05d}-of-{len(self) + 1:05d}.safetensors"

    def _keys(self, shard: str) -> list[str]:
        with safe_open(self._out / shard, framework="pt") as opened:
            return list(opened.keys())

    def _block(self, number: int, suffix: str) -> Path:
        return self._work / "blocks" / f"{number:05d}{suffix}"

    def _incomplete(self) -> EggsError:
        return EggsError(f"The activations kept in {self._work} are incomplete; delete that folder and start again.")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DiskFull as error:
            done = f"{max(self.finished, 0)} of {len(self)} blocks are finished and kept"
            raise DiskFull(f"{error} {done}: free some space and start the same run again.") from error


def _score(model: PreTrainedModel, blocks: list[nn.Module], activations: Activations) -> WindowScores:
    """The scores of hidden states that have passed all blocks: the model runs with them in its blocks' place."""
    parts: list[WindowScores] = []
    for batch, hidden in zip(activations.batches, activations.hidden, strict=True):
        size = windows_at_once(model, batch.shape[1])
        for tokens, states in zip(batch.split(size), hidden.split(size), strict=True):
            output = (states,) if activations.wrapped else states
            with replaced(blocks, repeat(lambda *_args, output=output, **_kwargs: output)):
                parts += score_windows(model, tokens)
    return join(parts)
