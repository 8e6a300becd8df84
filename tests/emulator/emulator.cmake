# nibble_cuda_emulated: every .cu file of the layers compiled by g++ (tests/emulator), with a stand-in for the CUDA runtime.
# Needs CUDA's headers, not nvcc: the toolkit's, or those of the compiler's wheels (scripts/setup.sh). NIBBLE_EMULATOR says
# whether it is there.
#
# A shared library, as the real module is: its thread-local storage is the kernels' shared memory and nothing else.

set(NIBBLE_EMULATOR OFF)
file(GLOB cuda_include_candidates ${NIBBLE_DEPS}/torch/lib/python3*/site-packages/nvidia/cu13/include)
list(PREPEND cuda_include_candidates $ENV{CUDA_HOME}/include /usr/local/cuda/include)
if(NIBBLE_NVCC)
  get_filename_component(nvcc_include ${NIBBLE_NVCC} REALPATH)
  get_filename_component(nvcc_include ${nvcc_include}/../../include ABSOLUTE)
  list(PREPEND cuda_include_candidates ${nvcc_include})
endif()
set(NIBBLE_CUDA_INCLUDE "")
foreach(folder ${cuda_include_candidates})
  # A runtime's wheel alone has the first of these and not the others.
  if(NOT NIBBLE_CUDA_INCLUDE AND EXISTS ${folder}/cuda_bf16.h AND EXISTS ${folder}/crt/host_defines.h
     AND EXISTS ${folder}/nv/target)
    set(NIBBLE_CUDA_INCLUDE ${folder})
  endif()
endforeach()
if(NOT NIBBLE_CUDA_INCLUDE)
  message(STATUS "CUDA's headers not found: the tests of the CUDA kernels on the CPU are left out (scripts/setup.sh installs them)")
  return()
endif()
set(NIBBLE_EMULATOR ON)

file(GLOB emulator_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/emulator/*.cpp)
list(FILTER emulator_sources EXCLUDE REGEX "_test\\.cpp$")
file(GLOB emulated_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/gpu/*.cu ${CMAKE_SOURCE_DIR}/quant/*.cu
     ${CMAKE_SOURCE_DIR}/optim/*.cu ${CMAKE_SOURCE_DIR}/nn/*.cu ${CMAKE_CURRENT_SOURCE_DIR}/emulator/*.cu)
add_library(nibble_cuda_emulated SHARED ${emulator_sources} ${emulated_sources})
# As nvcc compiles them: C++17, without aliasing by type (kernels load vectors of other types' elements, and
# move bits between types). What the module
# defines stays inside it, as in the real one.
set_source_files_properties(${emulated_sources} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS
  "-Wno-class-memaccess;-Wno-maybe-uninitialized;-include;${CMAKE_CURRENT_SOURCE_DIR}/emulator/device.h;-fno-strict-aliasing;-fvisibility=hidden;-ftls-model=initial-exec;-fmacro-prefix-map=${CMAKE_SOURCE_DIR}/=")
set_source_files_properties(${CMAKE_CURRENT_SOURCE_DIR}/emulator/runtime.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/emulator/runtime_streams.cpp PROPERTIES COMPILE_OPTIONS "-fvisibility=hidden")
set_target_properties(nibble_cuda_emulated PROPERTIES CXX_STANDARD 17)
target_include_directories(nibble_cuda_emulated SYSTEM PRIVATE ${NIBBLE_CUDA_INCLUDE})
nibble_target(nibble_cuda_emulated)
target_link_libraries(nibble_cuda_emulated PRIVATE nibble_core fmt::fmt ${CMAKE_DL_LIBS})
