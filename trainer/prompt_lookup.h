// Guesses how a text goes on from what it says before: drafts for generation, which a model checks several at a time.
//
// Source: prompt lookup decoding (Saxena 2023); speculative decoding (Leviathan, Kalman, Matias 2023), with a text in place of the small
// model. A draft costs time only: the tokens that are kept are those the model chooses.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nibble::trainer {

class PromptLookup {
 public:
  // `most`: tokens of a draft, 0 for none.
  PromptLookup(std::span<const int32_t> text, int64_t most);

  void append(int32_t id) { text_.push_back(id); }

  // At most `room` tokens that followed where the text's last tokens, at least two, stood before: the longest such place, of equally
  // long ones the last. -> empty where there is none, or where drafts were wrong of late.
  std::vector<int32_t> draft(int64_t room);

  // How many of the last draft's tokens the model chose too. After a good one the next may be longer; after one with no such token
  // there is none for a while, twice as long each time.
  void judge(int64_t drafted, int64_t accepted);

 private:
  std::vector<int32_t> text_;
  int64_t most_, length_;
  int64_t pause_ = 0, paused_ = 0;  // tokens without drafts: of the last pause, and left of it
};

}  // namespace nibble::trainer
