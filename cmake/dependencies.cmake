# Third-party libraries. LibTorch comes from the PyPI wheel that scripts/setup.sh installs; its own CMake package asks
# for the whole CUDA toolkit, so the two libraries that nibble links (torch_cpu, c10) are found by hand.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
add_library(PCRE2::8 ALIAS PkgConfig::PCRE2)
find_package(ZLIB REQUIRED)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
add_library(zstd::zstd ALIAS PkgConfig::ZSTD)

# NIBBLE_DEPS: the folder that scripts/setup.sh filled, which several clones may share. Torch_DIR, the customary name,
# points at another LibTorch (<root>/share/cmake/Torch).
if(DEFINED ENV{NIBBLE_DEPS})
  set(nibble_deps_default $ENV{NIBBLE_DEPS})
else()
  set(nibble_deps_default ${CMAKE_SOURCE_DIR}/.deps)
endif()
set(NIBBLE_DEPS ${nibble_deps_default} CACHE PATH "Folder that scripts/setup.sh filled")
if(Torch_DIR)
  get_filename_component(torch_root ${Torch_DIR}/../../.. ABSOLUTE)
else()
  file(GLOB torch_roots ${NIBBLE_DEPS}/torch/lib/python3*/site-packages/torch)
  list(APPEND torch_roots ${NIBBLE_DEPS}/torch)
  list(GET torch_roots 0 torch_root)
endif()
set(TORCH_LIB_DIR ${torch_root}/lib)
find_library(TORCH_CPU_LIBRARY torch_cpu PATHS ${TORCH_LIB_DIR} NO_DEFAULT_PATH)
find_library(C10_LIBRARY c10 PATHS ${TORCH_LIB_DIR} NO_DEFAULT_PATH)
if(NOT TORCH_CPU_LIBRARY OR NOT C10_LIBRARY)
  message(FATAL_ERROR "LibTorch not found in '${TORCH_LIB_DIR}': run scripts/setup.sh, or set NIBBLE_DEPS or Torch_DIR")
endif()

# Linked by full path, so CMake writes the folder into the build tree's RPATH and takes it out again on install.
# torch_cpu itself needs the CUDA runtime, which it finds beside itself; what else it leaves undefined it never calls.
add_library(torch_cpu INTERFACE)
target_include_directories(torch_cpu SYSTEM INTERFACE ${torch_root}/include)
# LibTorch's headers bring an fmt of their own (12) that hides the system's: units that see LibTorch use it header-only,
# the others link the system's library. The two have different inline namespaces and so never meet.
target_compile_definitions(torch_cpu INTERFACE FMT_HEADER_ONLY=1)
# sentencepiece and c10 both export a FLAGS_minloglevel, of 32 and of 4 bytes. The loader gives both the first that it meets:
# were that c10's, sentencepiece would write over what lies behind it (its flag that makes LibTorch abort instead of throw). So
# sentencepiece stands before LibTorch in everything that links both.
set(sentencepiece_first "-Wl,--push-state,--no-as-needed,-lsentencepiece,--pop-state")
target_link_libraries(torch_cpu INTERFACE ${sentencepiece_first} ${TORCH_CPU_LIBRARY} ${C10_LIBRARY} Threads::Threads)
target_link_options(torch_cpu INTERFACE -Wl,--allow-shlib-undefined)
# at::parallel_for is a header: without -fopenmp it compiles, and runs everything on one thread. The OpenMP runtime must be
# LibTorch's own, or two pools of threads would compete.
if(NOT NIBBLE_FUZZ)  # clang calls another runtime; a fuzz target is one thread
  target_compile_options(torch_cpu INTERFACE -fopenmp)
  file(GLOB torch_openmp ${TORCH_LIB_DIR}/libgomp*.so*)
  if(torch_openmp)
    list(GET torch_openmp 0 torch_openmp)
    target_link_libraries(torch_cpu INTERFACE ${torch_openmp})
  else()
    target_link_options(torch_cpu INTERFACE -fopenmp)  # a LibTorch that takes the system's
  endif()
endif()

# Parquet, where asked for: Arrow's libraries and headers as the pyarrow wheel carries them, in an environment of their own.
# Their names carry their version and there is no link without one, so they are found by pattern and linked by full path.
if(NIBBLE_PARQUET)
  file(GLOB arrow_roots ${NIBBLE_DEPS}/arrow/lib/python3*/site-packages/pyarrow)
  file(GLOB arrow_libraries ${NIBBLE_DEPS}/arrow/lib/python3*/site-packages/pyarrow/libarrow.so.*)
  file(GLOB parquet_libraries ${NIBBLE_DEPS}/arrow/lib/python3*/site-packages/pyarrow/libparquet.so.*)
  if(NOT arrow_roots OR NOT arrow_libraries OR NOT parquet_libraries)
    message(FATAL_ERROR "NIBBLE_PARQUET=ON, but pyarrow is not below '${NIBBLE_DEPS}/arrow': run scripts/setup.sh --parquet")
  endif()
  list(GET arrow_roots 0 arrow_root)
  list(GET arrow_libraries 0 arrow_library)
  list(GET parquet_libraries 0 parquet_library)
  add_library(arrow_parquet INTERFACE)
  target_include_directories(arrow_parquet SYSTEM INTERFACE ${arrow_root}/include)
  target_link_libraries(arrow_parquet INTERFACE ${parquet_library} ${arrow_library})
endif()
