# cmake --install build/release --prefix DIR: a folder that can be moved or copied to another machine.
#
#   bin/nibble          finds its libraries through RPATH $ORIGIN/../lib
#   lib/                LibTorch and every other shared library but the C and C++ run-time; libnibble_cuda.so if built
#   share/nibble/       the shipped configurations
#
# RPATH, not the newer RUNPATH: it also holds for the libraries that a library needs.
set_target_properties(nibble PROPERTIES INSTALL_RPATH "$ORIGIN/../lib")
target_link_options(nibble PRIVATE -Wl,--disable-new-dtags)

install(TARGETS nibble RUNTIME_DEPENDENCY_SET nibble_libraries RUNTIME DESTINATION bin)
install(RUNTIME_DEPENDENCY_SET nibble_libraries
        PRE_EXCLUDE_REGEXES "^lib(c|m|dl|rt|util|pthread|stdc\\+\\+|gcc_s)\\.so" "^ld-linux"
        DIRECTORIES ${TORCH_LIB_DIR}
        LIBRARY DESTINATION lib)
install(DIRECTORY configs/ DESTINATION share/nibble/configs)

if(TARGET nibble_cuda)
  set_target_properties(nibble_cuda PROPERTIES INSTALL_RPATH "$ORIGIN")
  install(TARGETS nibble_cuda LIBRARY DESTINATION lib)
endif()
