# The shipped descriptions of the configuration equal the binary's: docs/config.md, configs/schema.json, configs/*.yaml.
# The count is stated, so that a configuration that is lost or not found is noticed.
set(nibble_shipped_configs 9)
add_test(NAME meta.config_docs
         COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_SOURCE_DIR}/meta/check_config_docs.py ${CMAKE_SOURCE_DIR}
                 $<TARGET_FILE:nibble> ${nibble_shipped_configs})
set_tests_properties(meta.config_docs PROPERTIES LABELS meta TIMEOUT 60 ENVIRONMENT "${sanitizer_environment}")
