// A string value: a view of UTF-8 bytes together with where they come from.
//
// Three kinds, one type: a constant of the template and a string of the caller's variables are plain views (both
// outlive a rendering, so nothing is copied), a string made on the way shares its bytes with its slices. A plain view
// has one origin or none; a made string lists its marks, which slices cut to their part.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/jinja/limits.h"
#include "data/jinja/mark.h"

namespace nibble::data::jinja {

class Text {
 public:
  Text() = default;
  // A plain view. REQUIRES that the bytes outlive every copy; valid UTF-8 where anything but bytes is asked of it.
  explicit Text(std::string_view bytes, int32_t origin = kNoOrigin) : bytes_(bytes), origin_(origin) {}
  // A made string. REQUIRES marks in order of begin.
  Text(std::string bytes, std::vector<Mark> marks);

  std::string_view bytes() const { return bytes_; }
  bool empty() const { return bytes_.empty(); }
  bool marked() const { return origin_ != kNoOrigin || (made_ && !made_->marks.empty()); }
  // Marks that for_each_mark has to look through.
  size_t mark_count() const { return made_ ? made_->marks.size() : 1; }

  // Bytes [begin, end), sharing them. REQUIRES begin <= end <= size, both at character boundaries.
  Text part(size_t begin, size_t end) const;
  Text part(std::string_view within) const;  // REQUIRES a view into bytes()

  // Calls visit(Mark) for each mark, in bytes of this text.
  template <typename Visit>
  void for_each_mark(Visit visit) const;

 private:
  struct Made {
    std::string bytes;
    std::vector<Mark> marks;
  };

  std::string_view bytes_;
  int32_t origin_ = kNoOrigin;
  std::shared_ptr<const Made> made_;  // null: a plain view
};

// Writes a text piece by piece. THROWS Failure when the meter is used up.
class TextBuilder {
 public:
  explicit TextBuilder(Meter& meter) : meter_(&meter) {}

  TextBuilder& append(std::string_view bytes);
  TextBuilder& append(const Text& text);  // with its marks
  TextBuilder& append(size_t count, char c);
  size_t size() const { return bytes_.size(); }

  // Everything written between the two calls gets a mark around it. Blocks may stand in each other.
  struct Block {
    size_t mark;
    uint32_t begin;
  };
  Block begin_block();
  void end_block(const Block& block, int32_t origin);

  Text take();
  std::string& bytes() { return bytes_; }
  std::vector<Mark>& marks() { return marks_; }

 private:
  Meter* meter_;
  std::string bytes_;
  std::vector<Mark> marks_;
  size_t joinable_from_ = 0;  // marks before this one lie behind the border of a block and do not grow
};

// A made string without marks.
Text made_text(std::string bytes, Meter& meter);

// `bytes` as another form of `source` (upper case): marks stay where the lengths are equal, or where all of it is one
// copy; else they are dropped.
Text reshaped_text(std::string bytes, const Text& source, Meter& meter);

template <typename Visit>
void Text::for_each_mark(Visit visit) const {
  if (!made_) {
    if (origin_ != kNoOrigin) visit(Mark{0, static_cast<uint32_t>(bytes_.size()), origin_});
    return;
  }
  const auto first = static_cast<uint32_t>(bytes_.data() - made_->bytes.data());
  const auto last = static_cast<uint32_t>(first + bytes_.size());
  for (const Mark& mark : made_->marks) {
    if (mark.begin > last) break;
    if (mark.end < first) continue;
    const uint32_t begin = std::max(mark.begin, first), end = std::min(mark.end, last);
    // A mark that only touches the part is outside of it, unless one of the two is empty.
    if (begin == end && mark.begin != mark.end && first != last) continue;
    visit(Mark{begin - first, end - first, mark.origin});
  }
}

}  // namespace nibble::data::jinja
