// load_dataset: the only place that knows every stage of preparing data.
#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include "core/error.h"
#include "core/file.h"
#include "data/dataset.h"
#include "data/encode_row.h"
#include "data/row_file.h"

namespace nibble::data {
namespace {

constexpr size_t kBlockRows = 64;        // rows a thread takes at a time
constexpr size_t kWarningsOfAKind = 5;

struct SourceFile {
  RowFile file;
  RowSchema schema;
};

// One row of any file, with what became of it.
struct Job {
  const SourceFile* source;
  Row row;
  Sample sample;
  int64_t length = 0;  // before truncation
  std::exception_ptr error;
};

std::vector<SourceFile> open_files(const DataOptions& options) {
  if (options.files.empty()) throw ConfigError("train_file names no file");
  std::vector<SourceFile> sources;
  for (const auto& path : options.files) {
    RowFile file(path);
    const Row& first = file.rows().front();
    const std::string name = file.path();
    const RowPlace place{name, first.line};
    const RowSchema schema = choose_schema(options.format, parse_row(first, place), place);
    sources.push_back({std::move(file), schema});
  }
  return sources;
}

void encode_job(Job& job, const DataOptions& options, const EncodeRules& rules, const Tokenizer& tokenizer) {
  const std::string& name = job.source->file.path();
  const RowPlace place{name, job.row.line};
  try {
    const auto json = parse_row(job.row, place);
    const RowContent content =
        read_row(job.source->schema, json, place, job.source->file.rows().front().line, tokenizer.vocab_size());
    job.sample = encode_row(content, rules, tokenizer);
  } catch (const DataError& error) {
    // What the tokenizer or the template refuses does not know its place.
    if (error.place().file.empty()) place.fail("", error.message());
    throw;
  }
  job.length = static_cast<int64_t>(job.sample.ids.size());
  if (job.length > options.max_length && options.truncation == Truncation::kTruncate) {
    job.sample.ids.resize(options.max_length);
    job.sample.labels.resize(options.max_length);
  }
}

// Every job encoded, by several threads. THROWS the error of the first row that has one, however the threads ran.
void encode_all(std::vector<Job>& jobs, const DataOptions& options, const EncodeRules& rules, const Tokenizer& tokenizer) {
  const size_t blocks = (jobs.size() + kBlockRows - 1) / kBlockRows;
  std::atomic<size_t> next_block{0}, failed_block{blocks};
  const auto work = [&] {
    for (size_t block = next_block++; block < blocks && block <= failed_block; block = next_block++) {
      for (size_t i = block * kBlockRows; i < std::min(jobs.size(), (block + 1) * kBlockRows); ++i) {
        try {
          encode_job(jobs[i], options, rules, tokenizer);
        } catch (...) {
          jobs[i].error = std::current_exception();
          size_t seen = failed_block;
          while (block < seen && !failed_block.compare_exchange_weak(seen, block)) {
          }
          break;
        }
      }
    }
  };
  const unsigned machine = std::max(1u, std::thread::hardware_concurrency());
  const size_t wanted = options.threads > 0 ? static_cast<size_t>(options.threads) : machine;
  std::vector<std::thread> threads;
  for (size_t i = 1; i < std::min(wanted, blocks); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  for (const Job& job : jobs) {
    if (job.error) std::rethrow_exception(job.error);
  }
}

bool has_trained_token(const Sample& sample) {
  return sample.labels.size() > 1 && std::any_of(sample.labels.begin() + 1, sample.labels.end(), [](int32_t label) { return label != kIgnoredLabel; });
}

// Decides what is kept, and counts.
class Selection {
 public:
  Selection(const DataOptions& options, DatasetStats& stats) : options_(options), stats_(stats) {}

  bool keep(const Job& job) {
    stats_.longest = std::max(stats_.longest, job.length);
    if (job.length > options_.max_length) {
      ++too_long_;
      switch (options_.truncation) {
        case Truncation::kRaise:
          if (!first_long_) first_long_ = &job;
          return false;
        case Truncation::kDrop:
          warn(job, stats_.dropped_long++, fmt::format("{} tokens, longer than max_length = {}: left out", job.length, options_.max_length));
          return false;
        case Truncation::kTruncate:
          warn(job, stats_.truncated++, fmt::format("{} tokens, longer than max_length = {}: cut at the end", job.length, options_.max_length));
          break;
      }
    }
    if (has_trained_token(job.sample)) return true;
    const bool cut = job.length > options_.max_length;
    warn(job, stats_.dropped_untrained++, fmt::format("nothing to learn in this example ({}): left out",
                                                      cut ? "the answer was cut off; raise max_length" : "no answer"));
    return false;
  }

  void finish(int64_t kept) const {
    if (first_long_) {
      throw DataError(fmt::format("{} of {} examples are longer than max_length = {} (this is the first, with {} tokens; the longest "
                                  "has {}): raise max_length, or set truncation to truncate or drop", too_long_, stats_.examples,
                                  options_.max_length, first_long_->length, stats_.longest), place(*first_long_));
    }
    if (kept > 0) return;
    throw DataError(fmt::format("no example has a token to train on: of {}, {} have no answer or lost it to max_length = {}, {} are "
                                "too long; check the schema, max_length, truncation and assistant_only_loss", stats_.examples,
                                stats_.dropped_untrained, options_.max_length, stats_.dropped_long), Place{options_.files.front().string()});
  }

 private:
  static Place place(const Job& job) { return {job.source->file.path(), job.row.line}; }
  void warn(const Job& job, int64_t earlier, const std::string& message) {
    if (earlier < static_cast<int64_t>(kWarningsOfAKind)) stats_.warnings.push_back(place(job).text() + ": " + message);
  }

  const DataOptions& options_;
  DatasetStats& stats_;
  const Job* first_long_ = nullptr;
  int64_t too_long_ = 0;
};

}  // namespace

Dataset load_dataset(const DataOptions& options, const Tokenizer& tokenizer) {
  if (options.max_length < 2) throw ConfigError(fmt::format("max_length = {} is too short: a token is learned from the one before", options.max_length));
  const std::vector<SourceFile> sources = open_files(options);
  DatasetStats stats;
  EncodeRules rules;
  rules.assistant_only_loss = options.assistant_only_loss;
  std::string hashes;
  std::vector<Job> jobs;
  for (const SourceFile& source : sources) {
    const std::string name(schema_name(source.schema));
    if (("+" + stats.format + "+").find("+" + name + "+") == std::string::npos) stats.format += (stats.format.empty() ? "" : "+") + name;
    if (needs_template(source.schema) && !rules.chat) {
      rules.chat = choose_template(options.chat_template, tokenizer);
      stats.template_name = rules.chat->name;
    }
    hashes += source.file.hash();
    for (const Row& row : source.file.rows()) jobs.push_back({&source, row, {}, 0, nullptr});
  }
  stats.hash = xxh3_128(hashes);
  stats.examples = static_cast<int64_t>(jobs.size());
  encode_all(jobs, options, rules, tokenizer);
  Selection selection(options, stats);
  std::vector<Sample> kept;
  for (Job& job : jobs) {
    if (selection.keep(job)) kept.push_back(std::move(job.sample));
    job.sample = {};
  }
  selection.finish(static_cast<int64_t>(kept.size()));
  Dataset dataset(kept, options.max_length, options.packing);
  // The dataset counted what it holds; the rest is what was seen on the way.
  const DatasetStats counted = dataset.stats;
  dataset.stats = stats;
  dataset.stats.documents = counted.documents;
  dataset.stats.rows = counted.rows;
  dataset.stats.tokens = counted.tokens;
  dataset.stats.trained_tokens = counted.trained_tokens;
  return dataset;
}

}  // namespace nibble::data
