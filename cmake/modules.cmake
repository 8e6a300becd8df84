# nibble_module(NAME [TORCH] LINKS ...)  library nibble_NAME from every .cpp of folder NAME and of the folders in it
# nibble_target(TARGET)                  our warnings and flags

# ccache and a precompiled header go together when the header's own time stamps and macros do not count.
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE})
endif()

function(nibble_target target)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
  # No contraction: a*b+c rounds twice unless a kernel asks for fma; the codecs' bytes depend on it.
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow=local -Wswitch -Wno-unknown-pragmas -Wno-restrict
                         -ffp-contract=off -fno-math-errno)
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    target_compile_options(${target} PRIVATE -Wno-unknown-warning-option)  # of those above, g++ knows more
  elseif(CCACHE)
    target_compile_options(${target} PRIVATE -fpch-preprocess)
  endif()
  # Warnings are errors with the compiler that the project is tested with; a newer one's new warnings stop no user, and a
  # sanitizer's checks make g++ warn of what cannot be.
  if(NIBBLE_WERROR AND NOT NIBBLE_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(NIBBLE_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -gline-tables-only)
    target_link_options(${target} PRIVATE -fsanitize=address,undefined)
  elseif(NIBBLE_SANITIZE STREQUAL "thread")
    target_compile_options(${target} PRIVATE -fsanitize=thread -fno-omit-frame-pointer)
    target_link_options(${target} PRIVATE -fsanitize=thread)
  elseif(NIBBLE_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=address,undefined -fno-sanitize-recover=undefined
                           -fno-omit-frame-pointer)
    target_link_options(${target} PRIVATE -fsanitize=address,undefined)
  endif()
endfunction()

# The one precompiled header: the lean LibTorch headers of tensor/torch.h.
file(WRITE ${CMAKE_BINARY_DIR}/torch_pch.cpp "// holds the precompiled header\n")
add_library(nibble_torch_pch OBJECT ${CMAKE_BINARY_DIR}/torch_pch.cpp)
target_link_libraries(nibble_torch_pch PRIVATE torch_cpu)
nibble_target(nibble_torch_pch)
target_precompile_headers(nibble_torch_pch PRIVATE ${CMAKE_SOURCE_DIR}/tensor/torch.h)

function(nibble_module name)
  cmake_parse_arguments(arg "TORCH" "" "LINKS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${name}/*.cpp ${CMAKE_SOURCE_DIR}/${name}/*/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/trainer/main\\.cpp$")
  if(NOT sources)
    add_library(nibble_${name} INTERFACE)
    target_link_libraries(nibble_${name} INTERFACE ${arg_LINKS})
    if(arg_TORCH)
      target_link_libraries(nibble_${name} INTERFACE torch_cpu)
    endif()
    return()
  endif()
  add_library(nibble_${name} STATIC ${sources})
  target_link_libraries(nibble_${name} PUBLIC ${arg_LINKS})
  if(arg_TORCH)
    target_link_libraries(nibble_${name} PUBLIC torch_cpu)
    target_precompile_headers(nibble_${name} REUSE_FROM nibble_torch_pch)
  endif()
  nibble_target(nibble_${name})
endfunction()
