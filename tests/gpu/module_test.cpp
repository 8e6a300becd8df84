// Unit: gpu/module. Every way in which there is no GPU to use ends in a line that says why.
#include "gpu/module.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/error.h"
#include "gpu/runtime_table.h"
#include "quant/cuda_table.h"

namespace nibble::gpu {
namespace {

namespace fs = std::filesystem;

// A library that is always there and is neither a driver nor a module.
constexpr const char* kOtherLibrary = "libm.so.6";

TEST(ModuleStatus, SaysThatThereIsNoDriver) {
  const ModuleStatus status = module_status("libnibble_cuda.so", "libno_such_driver.so.1");
  EXPECT_FALSE(status.usable());
  EXPECT_EQ(status.devices, 0);
  EXPECT_THAT(status.text, testing::HasSubstr("no NVIDIA driver (libno_such_driver.so.1"));
}

TEST(ModuleStatus, SaysThatTheDriverIsNone) {
  const ModuleStatus status = module_status("libnibble_cuda.so", kOtherLibrary);
  EXPECT_FALSE(status.usable());
  EXPECT_THAT(status.text, testing::HasSubstr("libm.so.6 is not a CUDA driver"));
}

TEST(ModuleStatus, OfThisMachineIsALineAndConsistent) {
  const ModuleStatus status = module_status();
  EXPECT_FALSE(status.text.empty());
  EXPECT_EQ(status.text.find('\n'), std::string::npos);
  if (status.usable()) {
    EXPECT_EQ(table_mismatch(status.table), "");
    EXPECT_GT(status.devices, 0);
  }
}

TEST(TableMismatch, NamesBothVersions) {
  EXPECT_THAT(table_mismatch(nullptr), testing::HasSubstr("nothing"));
  ModuleTable table{};
  table.version = kModuleVersion;
  EXPECT_EQ(table_mismatch(&table), "");
  table.version = kModuleVersion + 7;
  EXPECT_THAT(table_mismatch(&table), testing::AllOf(testing::HasSubstr("version " + std::to_string(kModuleVersion + 7)),
                                                     testing::HasSubstr("needs " + std::to_string(kModuleVersion))));
}

TEST(DefaultModulePath, IsInTheBinarysLibFolder) {
  const fs::path path = default_module_path();
  EXPECT_EQ(path.filename(), kModuleFile);
  EXPECT_TRUE(path.is_absolute());
}

// The module as it was built, where it was: it loads without a driver, has this side's version, and its errors cross the
// library's border as nibble's own, quoting the statement that failed.
TEST(BuiltModule, LoadsWithoutADriverAndThrowsAcrossItsBorder) {
  const fs::path path = fs::path(NIBBLE_BINARY).parent_path().parent_path() / "lib" / kModuleFile;
  if (!fs::exists(path)) {
    EXPECT_FALSE(module_status(path).usable());  // built without nvcc: nothing to load
    return;
  }
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  const auto entry = reinterpret_cast<const ModuleTable* (*)()>(dlsym(library, kModuleSymbol));
  ASSERT_NE(entry, nullptr);
  const ModuleTable* table = entry();
  ASSERT_EQ(table_mismatch(table), "");
  ASSERT_NE(table->quant->dequantize, nullptr);
  if (module_status(path).usable()) {
    EXPECT_GT(table->runtime->device_count(), 0);
    return;
  }
  try {
    table->runtime->device_count();
    ADD_FAILURE() << "counted devices although none is usable";
  } catch (const CudaError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("cudaGetDeviceCount(&count) failed: "));
  }
}

}  // namespace
}  // namespace nibble::gpu
