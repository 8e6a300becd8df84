// The page of `nibble inspect --html`.
#include <fmt/format.h>

#include <algorithm>

#include "trainer/inspect_report.h"
#include "trainer/run_data.h"

namespace nibble::trainer {
namespace {

constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --ground: #fff; --text: #1d2126; --soft: #69727d; --line: #d9dee3; --learned: #c9f0d2; --bar: #4a90d9; }
@media (prefers-color-scheme: dark) { :root { --ground: #15181c; --text: #e3e7eb; --soft: #8b949e; --line: #30363d; --learned: #1d4a2b; --bar: #5aa0e8; } }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
h3 { font-size: .9rem; font-weight: 600; color: var(--soft); margin: 1rem 0 .3rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.6 ui-monospace, monospace; color: var(--soft); margin: 0; }
pre b { font-weight: normal; color: var(--text); background: var(--learned); border-radius: 2px; }
mark { background: var(--learned); color: inherit; border-radius: 2px; }
pre i { font-style: normal; } pre .s { border: 1px solid var(--line); border-radius: 3px; }
pre span:hover, pre b:hover, pre i:hover { outline: 1px solid var(--bar); }
.look { border-left: 4px solid #d9822b; padding-left: .7rem; }
table { border-collapse: collapse; } td { padding: .1rem .7rem .1rem 0; vertical-align: middle; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
.bar { display: inline-block; height: .8rem; background: var(--bar); border-radius: 2px; }
)";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

// A line break is shown as a mark and made.
std::string shown(const std::string& text) {
  std::string out;
  for (const char c : escaped(visible_text(text))) out += c == '\n' ? std::string("\u23ce\n") : std::string(1, c);
  return out;
}

std::string piece_html(const TokenPiece& piece, const InspectedDocument& document) {
  std::string ids;
  for (int64_t i = 0; i < piece.count; ++i) ids += fmt::format("{}{}", i == 0 ? "" : " ", document.ids[piece.first + i]);
  const char* tag = piece.trained ? "b" : "i";
  return fmt::format("<{0}{1} title=\"token {2}, id {3}, {4}\">{5}</{0}>", tag, piece.special ? " class=s" : "", piece.first, ids,
                     piece.trained ? "trained" : "masked", shown(piece.text));
}

std::string lengths_html(const std::vector<LengthBin>& bins) {
  int64_t most = 1;
  for (const LengthBin& bin : bins) most = std::max(most, bin.documents);
  std::string rows;
  for (const LengthBin& bin : bins) {
    rows += fmt::format("<tr><td class=n>{} to {}</td><td class=n>{}</td><td><span class=bar style=\"width:{:.1f}rem\"></span></td></tr>\n", bin.from, bin.to,
                        bin.documents, 24.0 * static_cast<double>(bin.documents) / static_cast<double>(most));
  }
  return "<table>\n<tr><td class=n>tokens</td><td class=n>documents</td><td></td></tr>\n" + rows + "</table>\n";
}

}  // namespace

std::string inspect_html(const InspectReport& report, const std::string& title) {
  std::string out = fmt::format("<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport content=\"width=device-width\">\n<title>{0}</title>\n"
                                "<style>{1}</style>\n<h1>{0}</h1>\n<p>Trained tokens are <mark>marked</mark>; all others are context only. "
                                "Rest the pointer on a token for its number and id.</p>\n", escaped(title), kStyle);
  for (const std::string& line : report.summary) {
    out += fmt::format("<p{}>{}</p>\n", line.starts_with("warning: ") ? " class=look" : "", escaped(line));
  }
  for (const std::string& line : audit_lines(report.stats)) out += fmt::format("<p>{}</p>\n", escaped(line));
  out += "<h2>Lengths</h2>\n" + lengths_html(length_bins(report.stats));
  for (const InspectedRow& row : report.rows) {
    out += fmt::format("<h2>Row {}: {} of {} tokens, {} trained</h2>\n", row.index, row.tokens, report.capacity, row.trained);
    for (const InspectedDocument& document : row.documents) {
      out += fmt::format("<h3>document {}, {}: {} tokens, {} trained</h3>\n<pre>", document.index, escaped(document.place), document.ids.size(), document.trained);
      for (const TokenRun& run : document.runs) {
        for (const TokenPiece& piece : run.pieces) out += piece_html(piece, document);
      }
      out += "</pre>\n";
    }
  }
  return out + "</html>\n";
}

}  // namespace nibble::trainer
