"""A small layer with correlated inputs, and the error that a new weight makes on them."""

import torch


def problem(rows=24, cols=32, tokens=400, seed=0):
    """A weight and inputs that are correlated and differ in scale, as those of a language model; x: (tokens, cols)."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, cols, generator=generator)
    mix = torch.randn(cols, cols, generator=generator) / cols**0.5 + torch.eye(cols)
    x = torch.randn(tokens, cols, generator=generator) @ mix * torch.randn(cols, generator=generator).mul(0.8).exp()
    return weight, x, x.T @ x / tokens


def error(weight, new, x):
    return float((x @ (weight - new).T).square().sum())
