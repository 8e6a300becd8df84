# nibble_cuda_on_device: what runs the CUDA kernels' tests on a GPU instead of the emulator (tests/device/on_device.cpp), and
# the installation of those tests for machines that have a GPU and no compiler (scripts/gpu_check.sh).
add_library(nibble_cuda_on_device SHARED ${CMAKE_CURRENT_SOURCE_DIR}/device/on_device.cpp)
nibble_target(nibble_cuda_on_device)
target_link_libraries(nibble_cuda_on_device PRIVATE nibble_gpu torch_cpu)

set(gpu_check_targets nibble_cuda_emulated nibble_cuda_on_device)
foreach(name quant optim nn)
  if(TARGET ${name}_cuda_tests)
    list(APPEND gpu_check_targets ${name}_cuda_tests)
  endif()
endforeach()
set_target_properties(${gpu_check_targets} PROPERTIES INSTALL_RPATH "$ORIGIN/../lib")
install(TARGETS ${gpu_check_targets}
        RUNTIME DESTINATION bin COMPONENT gpu_check EXCLUDE_FROM_ALL
        LIBRARY DESTINATION lib COMPONENT gpu_check EXCLUDE_FROM_ALL)
