# HEDGEHOG_CUDA: turns the CUDA language on where there is a compiler for it. The project has no CUDA source yet, so that this
# option only proves that the toolchain is found; the program is the CPU's.

include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  enable_language(CUDA)
  message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION} found; no CUDA kernel exists yet: the program runs on the CPU")
else()
  message(WARNING "HEDGEHOG_CUDA is on but there is no CUDA compiler: building for the CPU only")
endif()
