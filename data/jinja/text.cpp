#include "data/jinja/text.h"

namespace nibble::data::jinja {

Text::Text(std::string bytes, std::vector<Mark> marks) {
  auto made = std::make_shared<Made>(Made{std::move(bytes), std::move(marks)});
  bytes_ = made->bytes;
  made_ = std::move(made);
}

Text Text::part(size_t begin, size_t end) const {
  Text out = *this;
  out.bytes_ = bytes_.substr(begin, end - begin);
  return out;
}

Text Text::part(std::string_view within) const {
  const auto begin = static_cast<size_t>(within.data() - bytes_.data());
  return part(begin, begin + within.size());
}

TextBuilder& TextBuilder::append(std::string_view bytes) {
  meter_->create(bytes.size());
  if (bytes_.size() + bytes.size() > static_cast<size_t>(meter_->limits().output_bytes)) {
    throw Failure("the template makes a text that is too large");
  }
  bytes_.append(bytes);
  return *this;
}

TextBuilder& TextBuilder::append(size_t count, char c) {
  meter_->create(count);
  if (bytes_.size() + count > static_cast<size_t>(meter_->limits().output_bytes)) {
    throw Failure("the template makes a text that is too large");
  }
  bytes_.append(count, c);
  return *this;
}

TextBuilder& TextBuilder::append(const Text& text) {
  const auto at = static_cast<uint32_t>(bytes_.size());
  append(text.bytes());
  meter_->scan(8 * text.mark_count());
  text.for_each_mark([&](const Mark& mark) {
    if (marks_.size() > joinable_from_ && marks_.back().origin == mark.origin && marks_.back().end == at + mark.begin) {
      marks_.back().end = at + mark.end;
      return;
    }
    meter_->create(sizeof(Mark));
    marks_.push_back({at + mark.begin, at + mark.end, mark.origin});
  });
  return *this;
}

TextBuilder::Block TextBuilder::begin_block() {
  joinable_from_ = marks_.size();
  return {marks_.size(), static_cast<uint32_t>(bytes_.size())};
}

void TextBuilder::end_block(const Block& block, int32_t origin) {
  marks_.insert(marks_.begin() + static_cast<std::ptrdiff_t>(block.mark),
                Mark{block.begin, static_cast<uint32_t>(bytes_.size()), origin});
  meter_->create(sizeof(Mark) * (1 + marks_.size() - block.mark));
  joinable_from_ = marks_.size();
}

Text TextBuilder::take() {
  Text out(std::move(bytes_), std::move(marks_));
  bytes_.clear();
  marks_.clear();
  joinable_from_ = 0;
  return out;
}

Text made_text(std::string bytes, Meter& meter) {
  meter.create(bytes.size());
  return Text(std::move(bytes), std::vector<Mark>());
}

Text reshaped_text(std::string bytes, const Text& source, Meter& meter) {
  std::vector<Mark> marks;
  meter.create(source.mark_count() * sizeof(Mark));
  source.for_each_mark([&](const Mark& mark) { marks.push_back(mark); });
  if (bytes.size() != source.bytes().size()) {
    const bool one = marks.size() == 1 && marks[0].begin == 0 && marks[0].end == source.bytes().size();
    if (one) marks[0].end = static_cast<uint32_t>(bytes.size());
    else marks.clear();
  }
  meter.create(bytes.size());
  return Text(std::move(bytes), std::move(marks));
}

}  // namespace nibble::data::jinja
