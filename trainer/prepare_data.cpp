#include "trainer/prepare_data.h"

#include <unistd.h>

#include <iostream>

#include "core/error.h"
#include "trainer/open_tokenizer.h"
#include "trainer/progress.h"
#include "trainer/stop_request.h"

namespace nibble::trainer {
PreparedData prepare_data(const schema::LoadedConfig& loaded, const std::string& doing) {
  const StopRequest stop;
  Progress progress(std::cerr, terminal_columns(STDERR_FILENO));
  for (const std::string& note : loaded.notes) progress.message(note);
  if (loaded.config.train_file.empty()) throw ConfigError("train_file is missing: name the files to prepare", {loaded.file.string()});
  expect_data_files(loaded.config);
  DataHooks hooks;
  hooks.say = [&](const std::string& line) { progress.message(line); };
  hooks.each = [&] { stop.check(doing + " the data: nothing was kept"); };
  PreparedData prepared{open_tokenizer(loaded.config.model_name_or_path), {}};
  prepared.data = load_run_data(loaded.config, prepared.tokenizer, hooks);
  return prepared;
}

}  // namespace nibble::trainer
