# hedgehog_torch: LibTorch's CPU libraries, linked by name, since find_package(Torch) would ask for the whole CUDA toolkit.
# hedgehog_torch_pch: the one precompiled header that every folder with tensors shares.

if(NOT EXISTS "${HEDGEHOG_LIBTORCH}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch is not at ${HEDGEHOG_LIBTORCH}: run scripts/setup, or set HEDGEHOG_LIBTORCH")
endif()

add_library(hedgehog_torch INTERFACE)
target_include_directories(hedgehog_torch SYSTEM INTERFACE "${HEDGEHOG_LIBTORCH}/include"
                           "${HEDGEHOG_LIBTORCH}/include/torch/csrc/api/include")
# LibTorch brings headers of another fmt, whose functions it keeps to itself. Debian's, which we link, must be found before them.
find_path(HEDGEHOG_FMT fmt/format.h PATHS /usr/include NO_DEFAULT_PATH REQUIRED)
file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/fmt_first")
file(CREATE_LINK "${HEDGEHOG_FMT}/fmt" "${PROJECT_BINARY_DIR}/fmt_first/fmt" SYMBOLIC)
target_include_directories(hedgehog_torch INTERFACE "${PROJECT_BINARY_DIR}/fmt_first")
# at::parallel_for is a template of OpenMP pragmas: without the flag it compiles to a serial loop, and says nothing.
target_compile_options(hedgehog_torch INTERFACE -fopenmp)
target_compile_definitions(hedgehog_torch INTERFACE AT_PARALLEL_OPENMP=1)
# Full paths, so that CMake sets the run path of the build folder and replaces it on installation.
target_link_libraries(hedgehog_torch INTERFACE "${HEDGEHOG_LIBTORCH}/lib/libtorch_cpu.so"
                      "${HEDGEHOG_LIBTORCH}/lib/libc10.so" "${HEDGEHOG_LIBTORCH}/lib/libgomp.so.1")

if(NOT EXISTS "${PROJECT_BINARY_DIR}/torch_pch.cc")  # written once: a new time stamp would compile all anew
  file(WRITE "${PROJECT_BINARY_DIR}/torch_pch.cc" "")
endif()
add_library(hedgehog_torch_pch STATIC "${PROJECT_BINARY_DIR}/torch_pch.cc")
target_link_libraries(hedgehog_torch_pch PRIVATE hedgehog_options hedgehog_torch)
target_precompile_headers(hedgehog_torch_pch PRIVATE <ATen/ATen.h> <torch/csrc/autograd/custom_function.h>
                          <torch/csrc/autograd/variable.h> <ATen/Parallel.h> <string> <vector> <map> <functional>)
