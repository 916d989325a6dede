#!/usr/bin/env python3
"""One layer's distillation step with N×N matrices in eager PyTorch and autograd: what the tiled step is measured against.

Feature map hedgehog-softmax, φ(x) = [softmax(Wx + b), softmax(−Wx − b)], one map per query head and one per key/value head. Losses:
  weights   mean over rows of −Σ_j p_ij log a_ij, p the softmax rows, a the linear attention's rows
  output    mean of |y − ŷ|² over rows, divided by the mean of |y|²
A step is the forward pass, the loss and the gradients of the maps. Prints seconds a step: the best and the median of several.
"""
import argparse
import json
import math
import statistics
import time

import torch


def feature_map(x, weight, bias):
    """x [batch, heads, length, dim], weight [heads, M, dim], bias [heads, M] -> [batch, heads, length, 2 M]."""
    u = torch.einsum("bhnd,hmd->bhnm", x, weight) + bias[None, :, None, :]
    return torch.cat([torch.softmax(u, -1), torch.softmax(-u, -1)], -1)


class Layer:
    def __init__(self, batch, length, heads, kv_heads, dim, features, seed):
        generator = torch.Generator().manual_seed(seed)
        self.q = torch.randn(batch, heads, length, dim, generator=generator)
        self.k = torch.randn(batch, kv_heads, length, dim, generator=generator)
        self.v = torch.randn(batch, kv_heads, length, dim, generator=generator)
        self.q_weight = torch.eye(features, dim).repeat(heads, 1, 1).requires_grad_()
        self.q_bias = torch.zeros(heads, features, requires_grad=True)
        self.k_weight = torch.eye(features, dim).repeat(kv_heads, 1, 1).requires_grad_()
        self.k_bias = torch.zeros(kv_heads, features, requires_grad=True)
        self.group = heads // kv_heads
        self.later = torch.ones(length, length, dtype=torch.bool).triu(1)

    def parameters(self):
        return [self.q_weight, self.q_bias, self.k_weight, self.k_bias]

    def loss(self, kind):
        repeat = lambda x: x.repeat_interleave(self.group, 1)
        v = repeat(self.v)
        with torch.no_grad():  # the teacher
            logits = (self.q @ repeat(self.k).mT) / math.sqrt(self.q.shape[-1])
            p = torch.softmax(logits.masked_fill_(self.later, -math.inf), -1)
        phi_q = feature_map(self.q, self.q_weight, self.q_bias)
        phi_k = repeat(feature_map(self.k, self.k_weight, self.k_bias))
        scores = (phi_q @ phi_k.mT).masked_fill(self.later, 0)
        normaliser = scores.sum(-1, keepdim=True)
        total = 0
        if kind in ("weights", "both"):
            # −Σ p log(s/z) = log z − Σ p log s, which saves one N×N division and its gradient.
            log_scores = scores.masked_fill(self.later, 1).log()
            total = total + (normaliser.squeeze(-1).log() - (p * log_scores).sum(-1)).mean()
        if kind in ("output", "both"):
            y = p @ v
            error = (scores @ v) / normaliser - y
            total = total + error.square().mean() / y.square().mean()
        return total

    def step(self, kind):
        loss = self.loss(kind)
        loss.backward()
        for parameter in self.parameters():
            parameter.grad = None
        return loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["4x256", "1x2048"], help="batch x length of each case")
    parser.add_argument("--losses", nargs="+", default=["weights", "output", "both"], choices=["weights", "output", "both"])
    parser.add_argument("--heads", type=int, default=9)
    parser.add_argument("--kv-heads", type=int, default=3)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--features", type=int, default=64, help="M; the map has 2 M features")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    cases = []
    for shape in arguments.shapes:
        batch, length = map(int, shape.split("x"))
        layer = Layer(batch, length, arguments.heads, arguments.kv_heads, arguments.dim, arguments.features, arguments.seed)
        for kind in arguments.losses:
            loss = layer.step(kind)  # warms up
            seconds = []
            for _ in range(arguments.repeats):
                start = time.perf_counter()
                layer.step(kind)
                seconds.append(time.perf_counter() - start)
            cases.append({"case": f"distill/{kind}", "batch": batch, "n": length, "threads": arguments.threads, "dtype": "fp32",
                          "seconds": min(seconds), "median_seconds": statistics.median(seconds), "loss": loss})
            if not arguments.json:
                print(f"eager PyTorch  {kind:8s} batch {batch}  length {length:5d}  best {min(seconds):8.4f} s  "
                      f"median {statistics.median(seconds):8.4f} s  loss {loss:.5f}", flush=True)
    if arguments.json:
        print(json.dumps({"command": "distill_eager", "torch": torch.__version__, "cases": cases}))


if __name__ == "__main__":
    main()
