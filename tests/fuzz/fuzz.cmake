# One program a target: tests/fuzz/<x>_fuzz.cpp with its seeds in tests/fuzz/corpus/<x>/.
#
# With NIBBLE_FUZZ (clang only; scripts/fuzz.sh) libFuzzer drives them, under the address and undefined-behaviour
# sanitizers. In every other build the same code is replayed over the seeds, as tests of label cpu.
file(GLOB fuzz_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*_fuzz.cpp)
foreach(source IN LISTS fuzz_sources)
  get_filename_component(target ${source} NAME_WE)
  string(REGEX REPLACE "_fuzz$" "" corpus ${target})
  set(corpus ${CMAKE_CURRENT_LIST_DIR}/corpus/${corpus})
  add_executable(${target} ${source})
  target_link_libraries(${target} PRIVATE nibble_data)
  nibble_target(${target})
  if(NIBBLE_FUZZ)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${target} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/replay.cpp)
    add_test(NAME fuzz.${target} COMMAND ${target} ${corpus})
    set_tests_properties(fuzz.${target} PROPERTIES LABELS cpu TIMEOUT 120 ENVIRONMENT "${sanitizer_environment}")
  endif()
endforeach()
