# libnibble_cuda.so: every .cu file of the layers, for the architectures below. The main binary opens it at run time and
# never links it (gpu/module.h).
#
# nvcc is called by custom commands: CMake 3.25 knows neither CUDA 13 nor its C++ standards, and enabling its CUDA language
# would make every configuration without nvcc an error. NIBBLE_CUDA: AUTO (where nvcc is found), ON, OFF.

if(NIBBLE_CUDA STREQUAL "OFF")
  return()
endif()

# A toolkit, or the compiler's wheels in the environment that scripts/setup.sh made (nvidia-cuda-nvcc).
file(GLOB nvcc_wheel_bin ${NIBBLE_DEPS}/torch/lib/python3*/site-packages/nvidia/cu13/bin)
find_program(NIBBLE_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin ${nvcc_wheel_bin})
if(NOT NIBBLE_NVCC)
  if(NIBBLE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "NIBBLE_CUDA=ON, but nvcc was not found: set CUDA_HOME or NIBBLE_NVCC, or NIBBLE_CUDA=OFF")
  endif()
  message(STATUS "nvcc not found: no CUDA module (NIBBLE_CUDA=ON makes this an error)")
  return()
endif()

# The static runtime, so that the module needs the driver only. It stands beside the compiler that it belongs to.
get_filename_component(nvcc_real ${NIBBLE_NVCC} REALPATH)
get_filename_component(cuda_root ${nvcc_real}/../.. ABSOLUTE)
find_library(NIBBLE_CUDART cudart_static HINTS ${cuda_root}/lib64 ${cuda_root}/lib ${nvcc_wheel_bin}/../lib)
if(NOT NIBBLE_CUDART)
  if(NIBBLE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "nvcc is ${NIBBLE_NVCC}, but libcudart_static.a is not below ${cuda_root}")
  endif()
  message(STATUS "libcudart_static.a not found below ${cuda_root}: no CUDA module")
  return()
endif()

set(NIBBLE_CUDA_ARCHITECTURES 75 80 86 89 90 120)
set(nvcc_flags --std=c++17 -O3 -fmad=false -I${CMAKE_SOURCE_DIR} -Werror all-warnings -Xptxas -v
               -Xcompiler -fPIC,-Wall,-fvisibility=hidden,-fmacro-prefix-map=${CMAKE_SOURCE_DIR}/=)
foreach(arch ${NIBBLE_CUDA_ARCHITECTURES})
  list(APPEND nvcc_flags -gencode arch=compute_${arch},code=sm_${arch})
endforeach()
list(APPEND nvcc_flags -gencode arch=compute_120,code=compute_120)  # newer cards compile this one

set(cuda_objects "")
set(cuda_logs "")
foreach(layer gpu quant optim nn)
  file(GLOB cuda_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${layer}/*.cu)
  foreach(source ${cuda_sources})
    get_filename_component(stem ${source} NAME_WE)
    set(object ${CMAKE_BINARY_DIR}/cuda/${layer}_${stem}.o)
    add_custom_command(
      OUTPUT ${object}
      BYPRODUCTS ${object}.log
      DEPFILE ${object}.d
      DEPENDS ${source} ${CMAKE_SOURCE_DIR}/cmake/compile_cuda.sh
      # What ptxas says of registers, spills and shared memory goes to the log, for ctest meta.kernels.
      COMMAND sh ${CMAKE_SOURCE_DIR}/cmake/compile_cuda.sh ${object}.log
              ${NIBBLE_NVCC} ${nvcc_flags} -MD -MF ${object}.d -MT ${object} -c ${source} -o ${object}
      COMMENT "Building CUDA object ${layer}/${stem}.cu"
      VERBATIM)
    list(APPEND cuda_objects ${object})
    list(APPEND cuda_logs ${object}.log)
  endforeach()
endforeach()
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/cuda)

add_library(nibble_cuda SHARED ${cuda_objects})
set_target_properties(nibble_cuda PROPERTIES LINKER_LANGUAGE CXX)
set_source_files_properties(${cuda_objects} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
target_link_libraries(nibble_cuda PRIVATE nibble_core ${NIBBLE_CUDART} Threads::Threads ${CMAKE_DL_LIBS} rt)
# The runtime's own symbols stay inside: the process may hold another copy, LibTorch's.
target_link_options(nibble_cuda PRIVATE -Wl,--exclude-libs,libcudart_static.a)
