# hedgehog_library(FOLDER LINK targets...): the static library hedgehog_FOLDER out of hedgehog/FOLDER, and beside it
# hedgehog_FOLDER_tests out of tests/FOLDER. hedgehog_torch_library adds LibTorch and its precompiled header.

find_program(HEDGEHOG_CCACHE ccache)
if(HEDGEHOG_CCACHE)
  # The sloppinesses are what ccache asks for when a precompiled header is used. Paths below the source tree are made relative,
  # so that a second clone or build folder hits what the first one compiled.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1
      ${HEDGEHOG_CCACHE})
endif()

add_library(hedgehog_options INTERFACE)
target_include_directories(hedgehog_options INTERFACE "${PROJECT_SOURCE_DIR}")
target_compile_options(hedgehog_options INTERFACE -Wall -Wextra -Wno-unused-parameter -fvisibility-inlines-hidden)
if(HEDGEHOG_WERROR AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION MATCHES "^12\\.")
  # Only for the compiler that CI uses: the new warnings of a newer one must not stop a user's build.
  target_compile_options(hedgehog_options INTERFACE -Werror)
endif()
if(HEDGEHOG_SANITIZE)
  target_compile_options(hedgehog_options INTERFACE -fsanitize=${HEDGEHOG_SANITIZE} -fno-omit-frame-pointer
                                                    -fno-sanitize-recover=all)
  target_link_options(hedgehog_options INTERFACE -fsanitize=${HEDGEHOG_SANITIZE})
  # The kernels' source is the same for every instruction set, and takes minutes for all of them with sanitizers.
  target_compile_definitions(hedgehog_options INTERFACE HWY_COMPILE_ONLY_STATIC)
endif()

function(hedgehog_library folder)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/hedgehog/${folder}/*.cc")
  if(NOT sources)
    add_library(hedgehog_${folder} INTERFACE)
    target_link_libraries(hedgehog_${folder} INTERFACE hedgehog_options ${arg_LINK})
    return()
  endif()
  add_library(hedgehog_${folder} STATIC ${sources})
  target_link_libraries(hedgehog_${folder} PUBLIC hedgehog_options ${arg_LINK})
  hedgehog_tests(${folder})
endfunction()

function(hedgehog_torch_library folder)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  hedgehog_library(${folder} LINK hedgehog_torch ${arg_LINK})
  get_target_property(type hedgehog_${folder} TYPE)
  if(type STREQUAL "STATIC_LIBRARY")
    target_precompile_headers(hedgehog_${folder} REUSE_FROM hedgehog_torch_pch)
  endif()
  if(TARGET hedgehog_${folder}_tests)
    hedgehog_torch_executable(hedgehog_${folder}_tests)
  endif()
endfunction()

# Gives an executable the shared precompiled header. That was compiled with -fPIC, and g++ ignores it under CMake's -fPIE.
function(hedgehog_torch_executable target)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${target} PRIVATE -fPIC)
  target_precompile_headers(${target} REUSE_FROM hedgehog_torch_pch)
endfunction()

function(hedgehog_tests folder)
  if(NOT HEDGEHOG_TESTS)
    return()
  endif()
  file(GLOB tests CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/${folder}/*_test.cc")
  if(NOT tests)
    return()
  endif()
  add_executable(hedgehog_${folder}_tests ${tests})
  target_link_libraries(hedgehog_${folder}_tests PRIVATE hedgehog_${folder} GTest::gtest GTest::gtest_main)
  target_compile_definitions(hedgehog_${folder}_tests PRIVATE HEDGEHOG_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  hedgehog_register_tests(${folder} ${tests})
endfunction()

# Registers hedgehog_FOLDER_tests with ctest as one test for each of its sources, among which GoogleTest deals its tests: loading
# LibTorch takes longer than most of them, with sanitizers by far. One alone: build/dev/hedgehog_FOLDER_tests --gtest_filter=…
function(hedgehog_register_tests folder)
  list(LENGTH ARGN shards)
  foreach(source IN LISTS ARGN)
    list(FIND ARGN "${source}" shard)
    add_test(NAME ${folder}.${shard} COMMAND hedgehog_${folder}_tests)
    set_tests_properties(${folder}.${shard} PROPERTIES TIMEOUT 1800 LABELS ${folder} ENVIRONMENT
                                            "GTEST_TOTAL_SHARDS=${shards};GTEST_SHARD_INDEX=${shard}")
  endforeach()
endfunction()
