#!/usr/bin/env python3
"""causal_product of pytorch-fast-transformers, its C++ CPU kernel, fp32: y_i = Σ_{j≤i} (φ(q_i)·φ(k_j)) v_j, without a normaliser.

[1, 9, N, 128] features and values of 64, the numbers of benchmarks/causal_product.cc. Prints milliseconds of the forward pass and of the
backward pass alone, the best of several, for each build: `package` has the flags of the package's setup.py, `native` those and -march=native.
With --check FILE it prints instead how far Hedgehog's output and gradients, which that program wrote for the first length, are from this
kernel's divided by the normaliser: the largest difference over the largest number, of each array the worst.
"""
import argparse
import json
import time

import torch
from fast_transformers.causal_product import CausalDotProduct, causal_dot_product, causal_product_cpu, causal_product_cpu_native

BUILDS = {"package": causal_product_cpu, "native": causal_product_cpu_native}
HEADS, FEATURES, DIM = 9, 128, 64


def numbers(length, width, seed):
    i = torch.arange(HEADS * length * width) + seed * 1000003
    return ((i * 2654435761 & 0xFFFFFFFF) >> 8).float().div_(1 << 24).reshape(1, HEADS, length, width)


def problem(length):
    phi_q, phi_k = numbers(length, FEATURES, 1), numbers(length, FEATURES, 2)
    v, direction = numbers(length, DIM, 3) - 0.5, numbers(length, DIM, 4) - 0.5
    return [x.requires_grad_() for x in (phi_q, phi_k, v)], direction


def measure(length, seconds, rounds):
    inputs, direction = problem(length)
    best = {"forward": float("inf"), "backward": float("inf")}
    begin, count = time.perf_counter(), 0
    while count < rounds + 1 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        y = causal_dot_product(*inputs)
        middle = time.perf_counter()
        y.backward(direction)
        end = time.perf_counter()
        for x in inputs:
            x.grad = None
        if count > 0:  # the first warms up
            best["forward"] = min(best["forward"], middle - start)
            best["backward"] = min(best["backward"], end - middle)
        count += 1
    return best


def difference(path, length):
    (phi_q, phi_k, v), direction = problem(length)
    y = causal_dot_product(phi_q, phi_k, v) / (phi_q * phi_k.cumsum(2)).sum(-1, keepdim=True)
    y.backward(direction)
    expected = [y.detach(), phi_q.grad, phi_k.grad, v.grad]
    found = torch.from_file(path, size=sum(x.numel() for x in expected)).split([x.numel() for x in expected])
    return max(((a - b.view_as(a)).abs().max() / a.abs().max()).item() for a, b in zip(expected, found))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", nargs="+", type=int, default=[1024, 4096])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="at least")
    parser.add_argument("--seconds", type=float, default=1, help="at least, of each length and build")
    parser.add_argument("--check", metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.check:
        print(json.dumps({"n": arguments.lengths[0], "difference": difference(arguments.check, arguments.lengths[0])}))
        return
    cases = []
    for build, module in BUILDS.items():
        CausalDotProduct.dot["cpu"], CausalDotProduct.dot_backward["cpu"] = module.causal_dot_product, module.causal_dot_backward
        for length in arguments.lengths:
            for what, seconds in measure(length, arguments.seconds, arguments.rounds).items():
                cases.append({"what": what, "build": build, "n": length, "threads": arguments.threads, "dtype": "fp32",
                              "milliseconds": seconds * 1e3})
    print(json.dumps({"command": "causal_product", "torch": torch.__version__, "cases": cases}))


if __name__ == "__main__":
    main()
