# The project's claims about itself, as ctest entries: Python's standard library only, no build needed.
find_package(Python3 REQUIRED COMPONENTS Interpreter)

foreach(check layers tests constants goldens sizes)
  add_test(NAME meta.${check}
           COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/meta/check_${check}.py ${CMAKE_SOURCE_DIR})
  set_tests_properties(meta.${check} PROPERTIES LABELS meta TIMEOUT 60)
endforeach()

# The checks themselves are checked: each must refuse a project that breaks its rule.
add_test(NAME meta.self
         COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/meta/self_check.py ${CMAKE_SOURCE_DIR})
set_tests_properties(meta.self PROPERTIES LABELS meta TIMEOUT 60)

# What scripts/gpu_check.sh makes of good and bad runs: with made-up programs, so that it is right when a GPU is at hand.
add_test(NAME meta.gpu_check
         COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/meta/check_gpu_check.py ${CMAKE_SOURCE_DIR})
set_tests_properties(meta.gpu_check PROPERTIES LABELS meta TIMEOUT 60)
