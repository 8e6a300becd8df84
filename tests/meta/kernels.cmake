# ctest meta.kernels: registers, spills and shared memory of every CUDA kernel against a stored budget, from what ptxas
# said when the module was built. Only where the CUDA module is built.
if(TARGET nibble_cuda)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  add_test(NAME meta.kernels
           COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/meta/check_kernels.py
                   ${CMAKE_CURRENT_SOURCE_DIR}/meta/kernels_budget.json "${NIBBLE_CUDA_ARCHITECTURES}" ${cuda_logs})
  set_tests_properties(meta.kernels PROPERTIES LABELS meta TIMEOUT 60)
endif()
