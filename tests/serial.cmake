# Read by ctest behind the tests that gtest lists: what measures how fast the machine is runs while nothing else does.
foreach(test TrainingStepAgainstProducts ProductsWithOneTokenAgainstACopy QuantizingAgainstACopy)
  set_tests_properties(trainer_slow.CpuRates.${test} PROPERTIES RUN_SERIAL TRUE)
endforeach()
