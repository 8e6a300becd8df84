# Other people's libraries read what nibble wrote. Only where scripts/setup.sh --peer made their environment.
file(GLOB peer_python ${NIBBLE_DEPS}/peer/bin/python)
if(NOT EXISTS ${NIBBLE_DEPS}/peer/.installed OR NOT peer_python)
  message(STATUS "e2e tests left out: no peer environment (scripts/setup.sh --peer makes it)")
  return()
endif()

set(e2e_work ${CMAKE_BINARY_DIR}/e2e)
add_test(NAME e2e.model_folder
         COMMAND ${peer_python} -W ignore ${CMAKE_SOURCE_DIR}/scripts/golden/make_smollm2_folder.py ${e2e_work}/smollm2)
set_tests_properties(e2e.model_folder PROPERTIES LABELS e2e TIMEOUT 300 FIXTURES_SETUP smollm2_folder)

foreach(base dense nf4)
  add_test(NAME e2e.export_${base}
           COMMAND ${peer_python} -W ignore ${CMAKE_CURRENT_SOURCE_DIR}/e2e/check_export.py --nibble $<TARGET_FILE:nibble>
                   --model ${e2e_work}/smollm2 --data ${CMAKE_SOURCE_DIR}/configs/demo --base ${base}
                   --work ${e2e_work}/export_${base})
  set_tests_properties(e2e.export_${base} PROPERTIES LABELS e2e TIMEOUT 900 FIXTURES_REQUIRED smollm2_folder
                       RUN_SERIAL ON ENVIRONMENT "HF_HUB_OFFLINE=1;TRANSFORMERS_VERBOSITY=error")
endforeach()
