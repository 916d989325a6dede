"""Megabytes a second of the `tokenizers` library on the text of benchmarks/tokenizer_speed.cc, one thread, best of five.

Usage: python tokenizers_speed.py [tokenizer.json | model.gguf] ...
"""
import os
import pathlib
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "tests/fixtures/tokenizer"
sys.path.insert(0, str(FIXTURES))

from gguf_source import gguf_fields, tokenizer_of_gguf  # noqa: E402
from mixed_text import CHUNK_BYTES, MixedText  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

text = MixedText()
# The library takes str: decoding is not counted here, while the C++ side checks its bytes on the clock.
chunks = [text.chunk(i).decode("utf-8", "replace") for i in range(84)]
for path in sys.argv[1:] or [str(FIXTURES / name) for name in ("llama3_like.json", "qwen2_like.json")]:
    tokenizer = Tokenizer.from_file(path) if path.endswith(".json") else tokenizer_of_gguf(gguf_fields(path))
    best, tokens = float("inf"), 0
    for _ in range(5):
        begin = time.perf_counter()
        tokens = sum(len(tokenizer.encode(chunk, add_special_tokens=False)) for chunk in chunks)
        best = min(best, time.perf_counter() - begin)
    print("%-40s %8.1f MB/s %10d tokens" % (pathlib.Path(path).name, len(chunks) * CHUNK_BYTES / 1e6 / best, tokens))
