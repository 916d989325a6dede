#!/usr/bin/env python3
"""A GGUF file again with its matrices as bf16 or fp32 (vectors are fp32), all else as it was: llama.cpp computes with what the file holds."""
import argparse

import gguf
from gguf.constants import GGMLQuantizationType, GGUFValueType, LlamaFileType

TYPES = {"bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16), "fp32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--dtype", default="bf16", choices=list(TYPES))
    arguments = parser.parse_args()
    tensor_type, file_type = TYPES[arguments.dtype]

    reader = gguf.GGUFReader(arguments.source)
    writer = gguf.GGUFWriter(arguments.target, reader.fields["general.architecture"].contents())
    writer.add_file_type(file_type)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        sub_type = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1].tolist())
        if values.ndim > 1:
            values = gguf.quants.quantize(values, tensor_type)
            writer.add_tensor(tensor.name, values, raw_dtype=tensor_type)
        else:
            writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
