# One program a target: tests/fuzz/<x>_fuzz.cpp with its seeds in tests/fuzz/corpus/<x>/.
#
# With NIBBLE_FUZZ (clang only; scripts/fuzz.sh) libFuzzer drives them, under the address and undefined-behaviour
# sanitizers. In every other build the same code is replayed over the seeds and over damaged copies of them
# (tests/fuzz/replay.cpp), as tests of label cpu.
#
# What a target reads with, beside nibble_data. Of the trainer single files, not the layer: it is large, and fuzzing instruments
# all that it links.
set(fuzz_io safetensors gguf json_config adapter packed_cache checkpoint optimizer_state)
set(fuzz_trainer_gguf trainer/open_tokenizer.cpp)
set(fuzz_trainer_checkpoint trainer/run_state.cpp trainer/metrics.cpp)

file(GLOB fuzz_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*_fuzz.cpp)
foreach(source IN LISTS fuzz_sources)
  get_filename_component(target ${source} NAME_WE)
  string(REGEX REPLACE "_fuzz$" "" corpus ${target})
  set(corpus_folder ${CMAKE_CURRENT_LIST_DIR}/corpus/${corpus})
  add_executable(${target} ${source})
  target_link_libraries(${target} PRIVATE nibble_data)
  if(corpus IN_LIST fuzz_io)
    target_link_libraries(${target} PRIVATE nibble_io)
  endif()
  foreach(file IN LISTS fuzz_trainer_${corpus})
    target_sources(${target} PRIVATE ${CMAKE_SOURCE_DIR}/${file})
  endforeach()
  nibble_target(${target})
  if(NIBBLE_FUZZ)
    target_link_options(${target} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${target} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/replay.cpp)
    add_test(NAME fuzz.${target} COMMAND ${target} ${corpus_folder})
    set_tests_properties(fuzz.${target} PROPERTIES LABELS cpu TIMEOUT 120 ENVIRONMENT "${sanitizer_environment}")
  endif()
endforeach()
