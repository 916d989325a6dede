#!/usr/bin/env python3
"""A prompt and the tokens after it by llama.cpp, through the functions of its library: what Hedgehog's generation is measured against.

Batches of 512 tokens, logits of the last one alone, the keys and values in fp16, greedy choice. Each length is run with and without flash
attention, and the better counts: of the prompt, and of the tokens after it. Prints milliseconds of the prompt, and of one token after it.
"""
import argparse
import ctypes
import json
import time

import llama_cpp
import numpy

BATCH = 512
DTYPES = ("bf16", "fp32")


def prompt(length):
    """The prompt of benchmarks/prefill.cc."""
    return [1000 + 331 * (i % 61) for i in range(length)]


class Context:
    def __init__(self, model, size, threads, flash_attention):
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx, parameters.n_batch = size, BATCH
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.flash_attn_type = (llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash_attention
                                      else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED)
        self.context = llama_cpp.llama_init_from_model(model, parameters)
        if not self.context:
            raise SystemExit("llama.cpp made no context")
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))

    def read(self, tokens):
        """The likeliest next token."""
        for begin in range(0, len(tokens), BATCH):
            part = tokens[begin:begin + BATCH]
            array = (llama_cpp.llama_token * len(part))(*part)
            if llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(array, len(part))) != 0:
                raise SystemExit("llama_decode failed")
        logits = numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.context, -1), (self.vocabulary,))
        return int(logits.argmax())

    def run(self, length, steps):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        start = time.perf_counter()
        tokens = [self.read(prompt(length))]
        middle = time.perf_counter()
        for _ in range(steps):
            tokens.append(self.read(tokens[-1:]))
        return middle - start, (time.perf_counter() - middle) / max(1, steps), tokens

    def close(self):
        llama_cpp.llama_free(self.context)


def text_of(model, tokens):
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    array, buffer = (llama_cpp.llama_token * len(tokens))(*tokens), ctypes.create_string_buffer(64 * len(tokens))
    count = llama_cpp.llama_detokenize(vocabulary, array, len(tokens), buffer, len(buffer), False, False)
    return buffer.raw[:count].decode("utf-8", "replace")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a GGUF file whose matrices have the dtype: opponents/gguf_dtype.py makes one")
    parser.add_argument("--dtype", default="bf16", choices=DTYPES, help="what the file holds, for the record")
    parser.add_argument("--lengths", nargs="+", type=int, default=[512, 2048])
    parser.add_argument("--steps", type=int, default=32, help="tokens after the prompt and the first")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--flash-attention", nargs="+", default=["on", "off"], choices=["on", "off"])
    arguments = parser.parse_args()

    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(arguments.model.encode(), llama_cpp.llama_model_default_params())
    if not model:
        raise SystemExit(f"llama.cpp cannot load {arguments.model}")
    cases = []
    for length in arguments.lengths:
        best = {}
        for flash in arguments.flash_attention:
            context = Context(model, length + arguments.steps + 1, arguments.threads, flash == "on")
            context.run(min(length, BATCH), 2)  # warms up
            prefill, decode, tokens = context.run(length, arguments.steps)
            context.close()
            for what, seconds in (("prefill", prefill), ("decode", decode)):
                if what not in best or seconds * 1e3 < best[what]["milliseconds"]:
                    best[what] = {"who": "llama.cpp", "what": what, "n": length, "dtype": arguments.dtype, "threads": arguments.threads,
                                  "flash_attention": flash, "milliseconds": seconds * 1e3, "text": text_of(model, tokens)}
        cases += best.values()
    print(json.dumps({"command": "llama_cpp_prefill", "llama_cpp_python": llama_cpp.__version__, "opponents": cases}))


if __name__ == "__main__":
    main()
