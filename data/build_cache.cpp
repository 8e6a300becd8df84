#include "data/build_cache.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <system_error>
#include <thread>

#include "core/disk_space.h"
#include "core/error.h"
#include "core/file.h"
#include "core/mapped_pages.h"
#include "core/ordered_workers.h"
#include "core/partial_file.h"
#include "data/cache_file.h"
#include "data/encode_block.h"
#include "data/parts.h"
#include "data/repeats.h"

namespace nibble::data {
namespace fs = std::filesystem;
namespace {

// Blocks of rows in flight for each thread: one that it works on, one read ahead, one that waits for its turn.
constexpr int64_t kBlocksAThread = 3;

constexpr const char* kOtherDisk = "free some space, or name a folder on another disk with dataset_prepared_path";
// What a document takes behind the tokens: its record, and its places in the parts and rows.
constexpr int64_t kFinishedBytesADocument = static_cast<int64_t>(sizeof(DocumentRecord) + sizeof(RowRecord)) + 16;

int64_t thread_count(const DataOptions& options) {
  return options.threads > 0 ? options.threads : std::max<int64_t>(1, std::thread::hardware_concurrency());
}

// Records of documents on their way into the cache: they come one by one, and are written behind all tokens. The file's name is
// that of a partial file of the cache, so that what a killed process leaves goes with the rest.
class RecordSpool {
 public:
  explicit RecordSpool(fs::path cache) : path_(cache.replace_extension(fmt::format(".records{}", kPartialSuffix))), out_(path_) {}
  ~RecordSpool() {
    std::error_code ignored;
    fs::remove(path_, ignored);
  }
  void add(std::span<const DocumentRecord> records) { out_.write(std::as_bytes(records)); }
  // All of them. Nothing can be added any more.
  std::span<const DocumentRecord> map() {
    out_.close();
    file_ = MappedFile(path_);
    return {reinterpret_cast<const DocumentRecord*>(file_.bytes().data()), static_cast<size_t>(file_.size()) / sizeof(DocumentRecord)};
  }

 private:
  fs::path path_;
  FileWriter out_;
  MappedFile file_;
};

class CacheBuilder {
 public:
  CacheBuilder(const fs::path& path, const std::string& key, const DataOptions& options, const Tokenizer& tokenizer)
      : path_(path), options_(options), tokenizer_(tokenizer), out_(path, key), spool_(path), watch_(path, "prepared data", kOtherDisk) {
    out_.begin(CacheSection::kWords);
  }

  void add_file(size_t index, const std::function<void()>& each) {
    RowStream stream(options_.files[index]);
    const std::string name = stream.path();
    RowBlock first;
    if (!stream.next(first)) throw DataError("the file holds no examples", Place{name});
    const FileRules rules = rules_of(first, stream, name, static_cast<int32_t>(index));
    bool first_given = false;
    OrderedWork<RowBlock, EncodedBlock> parts;
    parts.next = [&](RowBlock& block) {
      if (first_given) return stream.next(block);
      first_given = true;
      block = std::move(first);
      return true;
    };
    parts.work = [&](RowBlock&& block) { return encode_block(block, rules, tokenizer_); };
    parts.take = [&](EncodedBlock&& block) { take(std::move(block), name); };
    parts.waiting = each;
    const int64_t threads = thread_count(options_);
    run_ordered(parts, threads, kBlocksAThread * threads);
  }

  void finish(const std::string& data_hash) {
    found_.counts.hash = data_hash;
    refuse_what_is_too_long();
    const auto records = spool_.map();
    if (records.empty()) refuse_empty();
    expect_disk_space(path_, kFinishedBytesADocument * static_cast<int64_t>(records.size()), "the end of prepared data", kOtherDisk);
    refuse_endless(static_cast<int64_t>(records.size()));
    const Repeats repeats = find_duplicates(records);
    found_.counts.duplicates = repeats.count;
    PartRules rules;
    rules.weights = options_.weights;
    rules.validation_split_ratio = options_.validation_split_ratio;
    rules.seed = options_.seed;
    rules.capacity = options_.max_length;
    rules.packing = options_.packing;
    rules.strategy = options_.packing_strategy;
    const auto parts = make_parts(records, rules);
    out_.section(CacheSection::kRecords, records);
    out_.section(CacheSection::kUsedIds, std::span<const uint64_t>(used_));
    write_part(parts[0], CacheSection::kDocuments0, CacheSection::kRows0, CacheSection::kRowDocuments0);
    write_part(parts[1], CacheSection::kDocuments1, CacheSection::kRows1, CacheSection::kRowDocuments1);
    const std::string stats = stats_json(found_, repeats.first);
    out_.section(CacheSection::kStats, std::span<const char>(stats));
    out_.finish();
  }

 private:
  // The shape shows in the first row that is none of the bad ones.
  RowShape shape_of(const RowBlock& first, bool counts_rows, const std::string& name) const {
    for (size_t r = 0;; ++r) {
      const RowPlace place{name, first.rows[r].line, counts_rows};
      try {
        return choose_shape(options_.format, options_.fields, parse_row(first.rows[r], place), place);
      } catch (const DataError&) {
        if (static_cast<int64_t>(r) >= options_.max_bad_rows || r + 1 == first.rows.size()) throw;
      }
    }
  }

  FileRules rules_of(const RowBlock& first, const RowStream& stream, const std::string& name, int32_t index) {
    FileRules rules{options_, name, index, shape_of(first, stream.counts_rows(), name), stream.counts_rows(), {}};
    const std::string format(schema_name(rules.shape.schema));
    std::string& formats = found_.counts.format;
    if (("+" + formats + "+").find("+" + format + "+") == std::string::npos) formats += (formats.empty() ? "" : "+") + format;
    if (needs_template(rules.shape) && !chat_) {
      chat_ = choose_template(options_.chat_template, tokenizer_);
      found_.counts.template_name = chat_->name;
    }
    rules.encode.chat = chat_;
    rules.encode.assistant_only_loss = options_.assistant_only_loss;
    rules.encode.completion_only_loss = options_.completion_only_loss;
    rules.encode.train_on_last_turn_only = options_.train_on_last_turn_only;
    rules.encode.split_special_tokens = options_.split_special_tokens;
    return rules;
  }

  void take(EncodedBlock&& block, const std::string& name) {
    for (const BadRow& bad : block.bad_rows) {
      if (++bad_rows_ <= options_.max_bad_rows) continue;
      throw DataError(fmt::format("{} (bad row number {}; max_bad_rows = {})", bad.message, bad_rows_, options_.max_bad_rows), Place{name, bad.line});
    }
    if (block.first_too_long && !first_too_long_) {
      first_too_long_ = block.first_too_long;
      too_long_in_ = name;
    }
    too_long_ += block.too_long;
    found_.add(std::move(block.found));
    for (DocumentRecord& record : block.records) {
      mark_used(std::span(block.words).subspan(static_cast<size_t>(record.first), static_cast<size_t>(record.length)), used_);
      record.first += words_;
    }
    words_ += static_cast<int64_t>(block.words.size());
    spool_.add(block.records);
    out_.write(std::as_bytes(std::span(block.words)));
    watch_.wrote(static_cast<int64_t>(block.words.size() * sizeof(int32_t) + block.records.size() * sizeof(DocumentRecord)));
  }

  void write_part(const PartArrays& part, CacheSection documents, CacheSection rows, CacheSection row_documents) {
    out_.section(documents, std::span<const int64_t>(part.documents));
    out_.section(rows, std::span<const RowRecord>(part.rows));
    out_.section(row_documents, std::span<const int64_t>(part.row_documents));
  }

  void refuse_what_is_too_long() const {
    if (!first_too_long_) return;
    throw DataError(fmt::format("{} of {} examples are longer than max_length = {} (this is the first, with {} tokens; the longest "
                                "has {}): raise max_length, or set truncation to truncate or drop", too_long_, found_.counts.examples,
                                options_.max_length, first_too_long_->text, found_.counts.longest), Place{too_long_in_, first_too_long_->spot.line});
  }

  [[noreturn]] void refuse_empty() const {
    const DatasetStats& c = found_.counts;
    throw DataError(fmt::format("no example has a token to train on: of {}, {} have no answer or lost it to max_length = {}, {} are "
                                "too long{}; check the schema, max_length, truncation and assistant_only_loss", c.examples, c.dropped_untrained,
                                options_.max_length, c.dropped_long, c.bad_rows > 0 ? fmt::format(", {} are bad rows", c.bad_rows) : ""),
                    Place{options_.files.front().string()});
  }

  // A model that never learns an end of a turn never stops: an error where not one of the documents has one. Running text and
  // segments may have their reasons, which the warnings leave to the user.
  void refuse_endless(int64_t documents) const {
    const DatasetStats& c = found_.counts;
    if (c.eos_masked == documents) {
      throw DataError(fmt::format("none of {} examples teaches the model to stop: EOS stands behind what is learned, but its label is -100 (labels made by a "
                                  "collator that masks padding, where padding is EOS?): give EOS its own id as label", documents),
                      Place{options_.files.front().string()});
    }
    if (c.no_end_of_turn == documents && !c.template_name.empty()) {
      throw DataError(fmt::format("none of {} examples teaches the model to stop: the answers of the template ({}) do not end with a special token; choose "
                                  "another one in chat_template_path, or set assistant_only_loss: false", documents, c.template_name),
                      Place{options_.files.front().string()});
    }
  }

  const fs::path path_;
  const DataOptions& options_;
  const Tokenizer& tokenizer_;
  CacheWriter out_;
  RecordSpool spool_;
  DiskWatch watch_;
  std::optional<Template> chat_;
  RowFindings found_;
  std::vector<uint64_t> used_;
  int64_t words_ = 0, bad_rows_ = 0, too_long_ = 0;
  std::optional<Finding> first_too_long_;
  std::string too_long_in_;
};

}  // namespace

void build_cache(const fs::path& path, const std::string& key, const std::vector<std::string>& file_hashes, const DataOptions& options,
                 const Tokenizer& tokenizer, const std::function<void()>& each) {
  CacheBuilder builder(path, key, options, tokenizer);
  std::string hashes;
  for (size_t f = 0; f < options.files.size(); ++f) {
    builder.add_file(f, each);
    hashes += file_hashes[f];
  }
  builder.finish(xxh3_128(hashes));
}

}  // namespace nibble::data
