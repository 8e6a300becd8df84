#include "nn/attention_composed.h"

#include <limits>

#include "nn/attention_math.h"

namespace nibble::nn {
namespace {

constexpr int64_t kQueryChunk = 128;

at::ScalarType math_dtype(const Tensor& t) { return t.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

// The queries [begin, begin + count) of one head and the keys [first, end) that any of them sees.
struct Chunk {
  int64_t begin, count, first, end;

  Tensor queries(const Tensor& head) const { return head.narrow(0, begin, count); }
  Tensor keys(const Tensor& head) const { return head.narrow(0, first, end - first); }
};

Chunk chunk_at(int64_t begin, int64_t tokens, int64_t window) {
  const int64_t count = std::min(kQueryChunk, tokens - begin);
  return {begin, count, first_key(begin, window), begin + count};
}

// Scaled scores with -inf where a query may not look. SHAPES q [count, D], k [keys, D] -> [count, keys]
Tensor masked_scores(const Tensor& q, const Tensor& k, const Chunk& c, const AttentionShape& shape) {
  Tensor scores = at::mm(q, k.t()).mul_(shape.scale);
  const Tensor i = at::arange(c.begin, c.begin + c.count).unsqueeze(1), j = at::arange(c.first, c.end).unsqueeze(0);
  Tensor hidden = j > i;
  if (shape.window > 0) hidden.logical_or_((i - j) >= shape.window);
  return scores.masked_fill_(hidden, -std::numeric_limits<double>::infinity());
}

// Calls work(head) for each key head. Heads are the only parallel axis: inside, LibTorch runs on one thread, so that its
// sums do not depend on how many there are.
template <class Work>
void each_kv_head(int64_t heads, const Work& work) {
  at::parallel_for(0, heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t h = begin; h < end; ++h) work(h);
  });
}

}  // namespace

void attention_forward_composed(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionShape& shape,
                                const Tensor& out, const Tensor& lse) {
  const at::ScalarType dtype = math_dtype(q);
  const int64_t tokens = q.size(0), group = shape.Hq / shape.Hkv;
  each_kv_head(shape.Hkv, [&](int64_t kv) {
    const Tensor key = k.select(1, kv).to(dtype), value = v.select(1, kv).to(dtype);
    for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
      for (int64_t begin = 0; begin < tokens; begin += kQueryChunk) {
        const Chunk c = chunk_at(begin, tokens, shape.window);
        Tensor p = masked_scores(c.queries(q.select(1, h)).to(dtype), c.keys(key), c, shape);
        const Tensor max = p.amax({1}, /*keepdim=*/true);
        p.sub_(max).exp_();
        const Tensor sum = p.sum({1}, /*keepdim=*/true);
        c.queries(out.select(1, h)).copy_(at::mm(p, c.keys(value)).div_(sum));
        lse.select(0, h).narrow(0, c.begin, c.count).copy_((max + sum.log()).squeeze(1));
      }
    }
  });
}

void attention_backward_composed(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                                 const Tensor& lse, const AttentionShape& shape, const Tensor& dq, const Tensor& dk,
                                 const Tensor& dv) {
  const at::ScalarType dtype = math_dtype(q);
  const int64_t tokens = q.size(0), group = shape.Hq / shape.Hkv;
  each_kv_head(shape.Hkv, [&](int64_t kv) {
    const Tensor key = k.select(1, kv).to(dtype), value = v.select(1, kv).to(dtype);
    Tensor dkey = at::zeros({tokens, shape.D}, key.options()), dvalue = at::zeros_like(dkey);
    for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
      for (int64_t begin = 0; begin < tokens; begin += kQueryChunk) {
        const Chunk c = chunk_at(begin, tokens, shape.window);
        const Tensor query = c.queries(q.select(1, h)).to(dtype), d = c.queries(dout.select(1, h)).to(dtype);
        const Tensor row_lse = lse.select(0, h).narrow(0, c.begin, c.count).to(dtype).unsqueeze(1);
        const Tensor p = masked_scores(query, c.keys(key), c, shape).sub_(row_lse).exp_();
        // sum_j p_ij dp_ij = dout_i . out_i
        const Tensor delta = (d * c.queries(out.select(1, h)).to(dtype)).sum({1}, /*keepdim=*/true);
        const Tensor ds = at::mm(d, c.keys(value).t()).sub_(delta).mul_(p).mul_(shape.scale);
        c.keys(dvalue).addmm_(p.t(), d);
        c.keys(dkey).addmm_(ds.t(), query);
        c.queries(dq.select(1, h)).copy_(at::mm(ds, c.keys(key)));
      }
    }
    dk.select(1, kv).copy_(dkey);
    dv.select(1, kv).copy_(dvalue);
  });
}

}  // namespace nibble::nn
