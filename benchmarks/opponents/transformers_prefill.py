#!/usr/bin/env python3
"""A prompt and the tokens after it by transformers with SDPA attention: what Hedgehog's generation is measured against.

One forward pass over the prompt with logits of the last position alone, then one token at a time on its cache, greedy choice. The weights come
from the same GGUF file. Prints milliseconds of the prompt, and of one token after it.
"""
import argparse
import json
import os
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def prompt(length):
    """The prompt of benchmarks/prefill.cc."""
    return torch.tensor([[1000 + 331 * (i % 61) for i in range(length)]])


def run(model, length, steps):
    tokens = prompt(length)
    start = time.perf_counter()
    out = model(input_ids=tokens, use_cache=True, logits_to_keep=1)
    chosen = [out.logits[0, -1].argmax().item()]
    middle = time.perf_counter()
    for _ in range(steps):
        out = model(input_ids=torch.tensor([chosen[-1:]]), cache=out.cache, use_cache=True)
        chosen.append(out.logits[0, -1].argmax().item())
    return middle - start, (time.perf_counter() - middle) / max(1, steps), chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file, such as scripts/model prints")
    parser.add_argument("--dtype", default="bf16", choices=list(DTYPES))
    parser.add_argument("--lengths", nargs="+", type=int, default=[512, 2048])
    parser.add_argument("--steps", type=int, default=32, help="tokens after the prompt and the first")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()

    directory, name = os.path.split(os.path.abspath(arguments.model))
    model = AutoModelForCausalLM.from_pretrained(directory, gguf_file=name, dtype=DTYPES[arguments.dtype], attn_implementation="sdpa").eval()
    tokenizer = AutoTokenizer.from_pretrained(directory, gguf_file=name)
    cases = []
    with torch.inference_mode():
        for length in arguments.lengths:
            run(model, min(length, 512), 2)  # warms up
            prefill, decode, chosen = run(model, length, arguments.steps)
            text = tokenizer.decode(chosen, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for what, seconds in (("prefill", prefill), ("decode", decode)):
                cases.append({"who": "transformers", "what": what, "n": length, "dtype": arguments.dtype, "threads": arguments.threads,
                              "milliseconds": seconds * 1e3, "text": text})
    print(json.dumps({"command": "transformers_prefill", "transformers": transformers.__version__, "torch": torch.__version__,
                      "opponents": cases}))


if __name__ == "__main__":
    main()
