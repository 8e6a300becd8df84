#include "data/spm.h"

#include <fmt/core.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "data/spm_check.h"

namespace nibble::data {
namespace {

// Protocol buffers' wire format, as much as the model needs.
class ProtoWriter {
 public:
  void number(int field, uint64_t value) {
    tag(field, 0);
    varint(value);
  }
  void real(int field, float value) {
    tag(field, 5);
    char bytes[4];
    std::memcpy(bytes, &value, 4);
    text_.append(bytes, 4);
  }
  void bytes(int field, std::string_view value) {
    tag(field, 2);
    varint(value.size());
    text_.append(value);
  }
  const std::string& text() const { return text_; }

 private:
  void tag(int field, int wire) { varint(static_cast<uint64_t>(field) << 3 | wire); }
  void varint(uint64_t value) {
    while (value >= 0x80) {
      text_.push_back(static_cast<char>(value | 0x80));
      value >>= 7;
    }
    text_.push_back(static_cast<char>(value));
  }
  std::string text_;
};

}  // namespace

struct SentencePieceModel::State {
  sentencepiece::SentencePieceProcessor processor;
};

SentencePieceModel::SentencePieceModel(std::string_view serialized, const std::string& path)
    : state_(std::make_unique<State>()) {
  check_sentencepiece_model(serialized, path);
  const auto status = state_->processor.LoadFromSerializedProto({serialized.data(), serialized.size()});
  if (!status.ok()) {
    throw FormatError(fmt::format("not a usable SentencePiece model ({}): fetch tokenizer.model again", status.ToString()), path);
  }
}

SentencePieceModel::~SentencePieceModel() = default;

void SentencePieceModel::encode(std::string_view text, std::vector<Token>& out) const {
  const auto encoded = state_->processor.EncodeAsImmutableProto({text.data(), text.size()});
  const size_t count = encoded.pieces_size();
  for (size_t i = 0; i < count; ++i) {
    const auto piece = encoded.pieces(static_cast<int>(i));
    out.push_back({static_cast<int32_t>(piece.id()), piece.begin()});
  }
}

std::vector<Piece> SentencePieceModel::pieces() const {
  const auto& processor = state_->processor;
  std::vector<Piece> pieces(processor.GetPieceSize());
  for (int i = 0; i < static_cast<int>(pieces.size()); ++i) {
    pieces[i].text = processor.IdToPiece(i);
    pieces[i].score = processor.GetScore(i);
    pieces[i].type = processor.IsUnknown(i)   ? PieceType::kUnknown
                     : processor.IsControl(i) ? PieceType::kControl
                     : processor.IsByte(i)    ? PieceType::kByte
                     : processor.IsUnused(i)  ? PieceType::kUnused
                                              : PieceType::kNormal;
  }
  return pieces;
}

int32_t SentencePieceModel::bos_id() const { return state_->processor.bos_id(); }
int32_t SentencePieceModel::eos_id() const { return state_->processor.eos_id(); }
int32_t SentencePieceModel::pad_id() const { return state_->processor.pad_id(); }
int32_t SentencePieceModel::unk_id() const { return state_->processor.unk_id(); }

std::string write_sentencepiece_model(const std::vector<Piece>& pieces, bool add_space_prefix) {
  // Field numbers of sentencepiece_model.proto.
  ProtoWriter model;
  bool has_bytes = false;
  for (const Piece& piece : pieces) {
    ProtoWriter entry;
    entry.bytes(1, piece.text);
    entry.real(2, piece.score);
    entry.number(3, static_cast<uint64_t>(piece.type));
    model.bytes(1, entry.text());
    has_bytes = has_bytes || piece.type == PieceType::kByte;
  }
  ProtoWriter trainer;
  trainer.number(3, 2);  // model_type BPE
  trainer.number(35, has_bytes);  // byte_fallback
  model.bytes(2, trainer.text());
  ProtoWriter normalizer;
  normalizer.bytes(1, "identity");
  normalizer.number(3, add_space_prefix);
  normalizer.number(4, 0);  // remove_extra_whitespaces
  normalizer.number(5, 1);  // escape_whitespaces
  model.bytes(3, normalizer.text());
  return model.text();
}

}  // namespace nibble::data
