# The fault layer (fault_layer.cpp), the sweep over every point of short runs, and the layer's own tests.
#
# The layer is preloaded into the binary. A binary with sanitizers wants its run-time first, so there is none of this there.
if(NIBBLE_SANITIZE OR NIBBLE_FUZZ)
  return()
endif()
set(faults ${CMAKE_CURRENT_LIST_DIR})
add_library(nibble_faults SHARED ${faults}/fault_layer.cpp ${faults}/fault_point.cpp ${faults}/unsynced.cpp ${faults}/watched_path.cpp)
target_link_libraries(nibble_faults PRIVATE ${CMAKE_DL_LIBS})
nibble_target(nibble_faults)

add_executable(fault_sweep ${faults}/fault_sweep.cpp ${faults}/fault_trial.cpp ${faults}/faulty_run.cpp ${faults}/workload.cpp
               ${faults}/train_workload.cpp ${faults}/output_workload.cpp)
target_link_libraries(fault_sweep PRIVATE nibble_trainer)
target_compile_definitions(fault_sweep PRIVATE NIBBLE_GOLDEN_DIR="${CMAKE_SOURCE_DIR}/tests/golden" NIBBLE_BINARY="$<TARGET_FILE:nibble>"
                           NIBBLE_FAULT_LAYER="$<TARGET_FILE:nibble_faults>")
nibble_target(fault_sweep)
add_dependencies(fault_sweep nibble nibble_faults)
