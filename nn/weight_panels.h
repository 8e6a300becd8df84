// Decoded weights for the products of a step. On a device there are two panels: while a product reads one, a second stream
// decodes the weight that comes next into the other, so that decoding hides behind the products (PERFORMANCE, 4.3: 5 to 11 % of
// a pass otherwise). Values do not depend on it, and neither does the number of launches.
//
// Which weight comes next is known from the last time: every pass asks for the same weights in the same order. A caller says
// with begin() which of its passes it starts; the first one is remembered, the following ones are predicted. Another order is
// no error: prediction ends where it differs, and what was decoded in vain is the one extra launch of such a pass.
//
//   main stream   | product w1 | wait r2 | product w2 | wait r3 | product w3 ...
//   second stream | decode w2, r2 | wait for product w1 | decode w3, r3 | ...
//
// A panel is written again only after the event that the main stream recorded when the panel's reader was surely queued: when
// the next weight was asked for.
#pragma once

#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "nn/arena.h"
#include "quant/layout.h"

namespace nibble::nn {

class WeightPanels {
 public:
  // On the CPU there is one panel and no second stream. THROWS CudaError
  explicit WeightPanels(const Place& place = {});
  ~WeightPanels();
  WeightPanels(const WeightPanels&) = delete;
  WeightPanels& operator=(const WeightPanels&) = delete;

  // A pass begins whose weights come in an order of its own, named by a number of the caller's.
  void begin(int64_t order);

  // The weight in `dtype`, valid until the next call; the caller's work on it is queued on the place's stream. `weight` is known
  // by its address: it must not move, and its values must not change. SHAPES -> [Out, In]. THROWS CudaError
  Tensor decoded(const quant::QuantizedWeight& weight, at::ScalarType dtype);

  // Has the main stream wait for what was decoded ahead and forgets it. Before a weight's packed bytes are overwritten without
  // another call of decoded().
  void settle();

  // Has the main stream wait for what was decoded ahead, which stays known. Where work begins or ends that is recorded as a graph:
  // events must not reach across its ends.
  void join();

  // What is known between pieces of work that may be repeated without a call of decoded().
  struct State {
    int current = 0;
    const quant::QuantizedWeight* coming = nullptr;
    at::ScalarType coming_dtype = at::kBFloat16;
    std::vector<const quant::QuantizedWeight*> asked;  // by the piece, in order
  };
  size_t position() const { return position_; }
  // After a piece that began at position `from`. REQUIRES nothing is on its way: join() was called.
  State state(size_t from) const;
  // As if the weights of `state` had been asked for from position `from` on, and the next one were decoded.
  void restore(const State& state, size_t from);
  // Adds to `key` what the launches for a piece's weights depend on besides the weights and what is foreseen: two pieces with the
  // same key can stand for each other. REQUIRES as state()
  void describe_to(std::vector<int64_t>& key) const;

  // Whether a weight's packed bytes may be read now, so that it may be decoded ahead. Empty: always. For bases that are streamed,
  // where a layer's bytes are there only after it was entered.
  void set_readable(std::function<bool(const quant::QuantizedWeight&)> readable) { readable_ = std::move(readable); }

  // Decodes ahead, in two panels (the default); or each weight when it is asked for, in one. No effect on the CPU.
  void set_ahead(bool ahead);

  int64_t bytes() const { return panels_[0].bytes_reserved() + panels_[1].bytes_reserved(); }

 private:
  Tensor panel(int number, const quant::QuantizedWeight& weight, at::ScalarType dtype);
  const quant::QuantizedWeight* follower(const quant::QuantizedWeight& weight);
  void decode_ahead(const quant::QuantizedWeight& weight, at::ScalarType dtype);

  Place place_;
  std::function<bool(const quant::QuantizedWeight&)> readable_;
  Arena panels_[2];                                        // one decoded weight each, as large as the largest so far
  int current_ = 0;                                        // the panel that was handed out last
  bool ahead_ = true;
  void* second_stream_ = nullptr;
  void* queued_ = nullptr;                                 // event: all readers of the other panel are queued and passed
  void* ready_ = nullptr;                                  // event: what was decoded ahead is there
  const quant::QuantizedWeight* coming_ = nullptr;         // decoded ahead into the other panel, in coming_dtype_
  at::ScalarType coming_dtype_ = at::kBFloat16;
  bool joined_ = false;                                    // the main stream waits for it already
  std::map<int64_t, std::vector<const quant::QuantizedWeight*>> orders_;
  std::vector<const quant::QuantizedWeight*>* order_ = nullptr;  // of this pass
  size_t position_ = 0;                                    // of the next weight in it
};

}  // namespace nibble::nn
