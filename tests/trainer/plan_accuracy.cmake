# The plan against the memory that a run takes, within 5 %, on models of few layers (docs/memory.md).
find_package(Python3 REQUIRED COMPONENTS Interpreter)
add_test(NAME trainer_slow.plan_accuracy
         COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/bench/plan_accuracy.py --nibble $<TARGET_FILE:nibble>
                 --work ${CMAKE_BINARY_DIR}/plan_accuracy --cases ci --within 0.05)
set_tests_properties(trainer_slow.plan_accuracy PROPERTIES LABELS slow TIMEOUT 300 RUN_SERIAL ON)
