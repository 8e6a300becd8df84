# The fault layer (fault_layer.cpp), its tests, and the sweep over every point of short runs.
#
# The layer is preloaded into the binary. A binary with sanitizers wants its run-time first, so there is none of this there.
if(NIBBLE_SANITIZE OR NIBBLE_FUZZ)
  return()
endif()
set(faults ${CMAKE_CURRENT_LIST_DIR})
add_library(nibble_faults SHARED ${faults}/fault_layer.cpp ${faults}/fault_point.cpp ${faults}/unsynced.cpp ${faults}/watched_path.cpp)
target_link_libraries(nibble_faults PRIVATE ${CMAKE_DL_LIBS})
nibble_target(nibble_faults)

# The layer's own tests run a program of their own under it.
add_executable(fault_probe ${faults}/fault_probe.cpp)
target_link_libraries(fault_probe PRIVATE nibble_core)
nibble_target(fault_probe)
nibble_test_executable(fault_layer_tests nibble_core cpu SOURCES ${faults}/fault_layer_test.cpp ${faults}/faulty_run.cpp
                       LINKS nlohmann_json::nlohmann_json)
get_target_property(definitions fault_layer_tests COMPILE_DEFINITIONS)
list(FILTER definitions EXCLUDE REGEX "^NIBBLE_BINARY=")
set_target_properties(fault_layer_tests PROPERTIES COMPILE_DEFINITIONS "${definitions};NIBBLE_BINARY=\"$<TARGET_FILE:fault_probe>\"")
nibble_test_executable(faults_slow_tests nibble_core slow LINKS nlohmann_json::nlohmann_json
                       SOURCES ${faults}/full_disk_slow_test.cpp ${faults}/lost_folder_slow_test.cpp ${faults}/faulty_run.cpp)

add_executable(fault_sweep ${faults}/fault_sweep.cpp ${faults}/fault_trial.cpp ${faults}/faulty_run.cpp ${faults}/workload.cpp
               ${faults}/train_workload.cpp ${faults}/output_workload.cpp)
target_link_libraries(fault_sweep PRIVATE nibble_trainer)
nibble_target(fault_sweep)
target_compile_definitions(fault_sweep PRIVATE NIBBLE_GOLDEN_DIR="${CMAKE_SOURCE_DIR}/tests/golden" NIBBLE_BINARY="$<TARGET_FILE:nibble>")
foreach(target fault_layer_tests faults_slow_tests fault_sweep)
  target_compile_definitions(${target} PRIVATE NIBBLE_FAULT_LAYER="$<TARGET_FILE:nibble_faults>")
  add_dependencies(${target} nibble nibble_faults fault_probe)
endforeach()

# Every point of the plain run for the faults that differ most; of the others, and of the other workloads, a share with another
# first point each. scripts/faults.sh runs all of all.
function(fault_test name)
  add_test(NAME faults.${name} COMMAND fault_sweep ${ARGN})
  set_tests_properties(faults.${name} PROPERTIES LABELS slow TIMEOUT 900 PROCESSORS 2)
endfunction()
fault_test(train_kill --workload train --mode kill)
fault_test(train_eio --workload train --mode eio)
fault_test(train_cut --workload train --mode cut_all --mode cut_names --mode cut_removed --stride 8)
fault_test(train_others --workload train --mode half_kill --mode half_enospc --mode half_eio --mode enospc --mode enospc_on --mode eio_on
           --mode short_all --mode eintr_all --stride 8)
fault_test(train_paged --workload train-paged --workload train-background --workload train-paged-background --workload train-cacheless --stride 48)
fault_test(outputs --workload export-adapter --workload export-adapter-again --workload export-merged --workload export-merged-again
           --workload preprocess --stride 10)
