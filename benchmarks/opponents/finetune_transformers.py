#!/usr/bin/env python3
"""LoRA finetuning of the softmax model with transformers and PyTorch: what `hedgehog finetune` is measured against.

The weights come from the same GGUF file. LoRA of rank 8 and α 16 sits on q, k, v and o, attention is SDPA, the optimizer AdamW. A step is
forward, backward and update on batch × length random tokens. Prints tokens a second: of the best step and of the median one.
"""
import argparse
import json
import os
import statistics
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import AutoModelForCausalLM


class LoraLinear(torch.nn.Module):
    """y = W x + (α/r) B A x, W frozen."""

    def __init__(self, base, rank, alpha):
        super().__init__()
        self.base = base
        self.lora_a = torch.nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.lora_b = torch.nn.Parameter(torch.zeros(base.out_features, rank))
        self.scale = alpha / rank

    def forward(self, x):
        linear = torch.nn.functional.linear
        return self.base(x) + self.scale * linear(linear(x, self.lora_a), self.lora_b)


def load(gguf_file, rank, alpha):
    directory, name = os.path.split(os.path.abspath(gguf_file))
    model = AutoModelForCausalLM.from_pretrained(directory, gguf_file=name, dtype=torch.float32, attn_implementation="sdpa")
    model.requires_grad_(False)
    for layer in model.model.layers:
        attention = layer.self_attn
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(attention, name, LoraLinear(getattr(attention, name), rank, alpha))
    return model.train()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file, such as scripts/model prints")
    parser.add_argument("--dtype", nargs="+", default=["bf16", "fp32"], choices=["bf16", "fp32"],
                        help="bf16: autocast; far slower than fp32 on a CPU without bf16 instructions")
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4, help="measured steps, after one that warms up")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one object on standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)

    model = load(arguments.model, arguments.rank, arguments.alpha)
    parameters = [p for p in model.parameters() if p.requires_grad]
    cases = []
    for dtype in arguments.dtype:
        optimizer = torch.optim.AdamW(parameters, lr=1e-4)
        seconds = []
        for _ in range(arguments.steps + 1):
            tokens = torch.randint(model.config.vocab_size, (arguments.batch, arguments.length))
            start = time.perf_counter()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == "bf16"):
                loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            seconds.append(time.perf_counter() - start)
        seconds = seconds[1:]
        tokens = arguments.batch * arguments.length
        case = {"case": "finetune/lora", "form": "softmax", "dtype": dtype, "threads": arguments.threads, "n": arguments.length,
                "batch": arguments.batch, "seconds": min(seconds), "median_seconds": statistics.median(seconds),
                "tokens_per_second": tokens / min(seconds), "median_tokens_per_second": tokens / statistics.median(seconds)}
        cases.append(case)
        if not arguments.json:
            print(f"transformers  {dtype}  batch {arguments.batch}  length {arguments.length}  best {case['tokens_per_second']:8.1f} tokens/s  "
                  f"median {case['median_tokens_per_second']:8.1f} tokens/s  loss {loss.item():.3f}", flush=True)
    if arguments.json:
        print(json.dumps({"command": "finetune_transformers", "model": arguments.model, "torch": torch.__version__, "cases": cases}))


if __name__ == "__main__":
    main()
