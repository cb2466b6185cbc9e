"""llama.cpp, to see what it makes of a GGUF file."""

import math
from pathlib import Path

import pytest
import torch

LETTER = 45  # a token of one ASCII letter in all tokenizers of the tests


class LlamaCpp:
    """llama.cpp with one model of so many tokens, on one thread of the CPU; skips where it is not installed."""

    def __init__(self, file: Path, rows: int) -> None:
        found = pytest.importorskip("xllamacpp", reason="xllamacpp is not installed")
        parameters = found.CommonParams()
        parameters.model.path = str(file)
        parameters.n_ctx, parameters.n_parallel, parameters.n_gpu_layers = 256, 1, 0
        parameters.cpuparams.n_threads = 1
        parameters.warmup = False
        self.server, self.rows = found.Server(parameters), rows

    def complete(self, prompt: str | list[int], **options) -> dict:
        """The answer to a text or to tokens, without chance."""
        return self.server.handle_completions({"prompt": prompt, "temperature": 0, **options})["choices"][0]

    def logprobs(self, prompt: str | list[int]) -> torch.Tensor:
        """Log-probabilities of the next token, (rows,) fp32."""
        # A token that ends a text, or is half a letter, comes with no probabilities, so that another one is taken.
        taken = {"n_predict": 1, "logit_bias": [[LETTER, 1000]]}
        answer = self.complete(prompt, **taken, n_probs=self.rows, cache_prompt=True, post_sampling_probs=False)
        said = answer["logprobs"]["content"][0]["top_logprobs"]
        found = torch.full((self.rows,), -torch.inf)
        found[[one["id"] for one in said]] = torch.tensor([one["logprob"] for one in said])
        return found

    def perplexity(self, windows: torch.Tensor) -> float:
        """Over windows of tokens, (windows, length) int64, each by itself."""
        losses = [
            -self.logprobs(window[:end])[window[end]].item()
            for window in windows.tolist()
            for end in range(1, len(window))
        ]
        return math.exp(sum(losses) / len(losses))
