// A stack of pre-norm Transformer blocks on one CPU thread, forward and backward, in bf16 with fp32
// sums (AVX512-BF16). One sequence passes through a block while its activations lie in the cache.
//
//   x += attention(normalised x) ; x += down(gelu(up(normalised x)))
//
// Compiled for one shape: -DLENGTH=, -DDIM= and -DHEADS=, of which LENGTH, DIM and DIM / HEADS are
// multiples of 32. Scores come in units of log 2, by the scale of the query weights.
#include "fold.h"

constexpr int L = LENGTH, D = DIM, H = HEADS, d = D / H;
constexpr int TILE = 32;                 // rows of scores computed at once
constexpr int CHUNK = L % 64 ? 32 : 64;  // rows whose widest activations stay in the L2 cache

constexpr int UNROLLED = L > 192 ? 1 : L / LANES;  // decides the order of sums, and so the last bits

// Scores [TILE, L] in units of log 2 to probabilities, to `kept` too unless it is null. Overwrites
// the scores.
static void softmax(float* __restrict scores, u16* __restrict out, u16* __restrict kept) {
  for (int r = 0; r < TILE; r++, scores += L, out += L) {
    float most = -3e38f;
    for (int c = 0; c < L; c++) most = scores[c] > most ? scores[c] : most;
    __m512 sums = all(0);
#pragma GCC unroll UNROLLED
    for (int c = 0; c < L; c += LANES) {
      const __m512 e = exp2_fast(wide(scores + c) - all(most));
      sums += e;
      _mm512_storeu_ps(scores + c, e);
    }
    const __m512 scale = all(1 / _mm512_reduce_add_ps(sums));
    for (int c = 0; c < L; c += LANES) {
      const __m256i p = narrow(wide(scores + c) * scale);
      store16(out + c, p);
      if (kept) stream16(kept + r * L + c, p);
    }
  }
}

extern "C" {

// Weights are [out, in] in bf16, biases and their gradients fp32, all of one kind block after block.
struct Weights {
  const u16 *qkv, *out, *up, *down;
  const float *qkv_bias, *up_bias, *down_bias, *cosine, *sine;  // angles: [L, d / 2]
};

struct Gradients {  // matrices are overwritten, biases added to
  float *qkv, *out, *up, *down, *qkv_bias, *up_bias, *down_bias;
};

// bf16 elements that one sequence leaves behind in one block.
long saved_elements() { return 10l * L * D + long(H) * L * L + 4l * L; }
}

struct Saved {  // what a block keeps of a sequence; q, k, v: [heads, L, d], q and k rotated
  u16 *norm1, *q, *k, *v, *attended, *norm2, *hidden, *probabilities;  // [heads, L, L]
  float *rstd1, *rstd2;
  explicit Saved(u16* at) {
    const long n = long(L) * D;
    norm1 = at, q = at + n, k = q + n, v = k + n, attended = v + n, norm2 = attended + n, hidden = norm2 + n;
    probabilities = hidden + 4 * n;
    rstd1 = (float*)(probabilities + long(H) * L * L), rstd2 = rstd1 + L;
  }
};

extern "C" {

// x: [batch, L, D], replaced by the last block's output. saved: saved_elements() for each sequence
// and block; without `keep` for one alone, and what it holds afterwards is of no use.
void trunk_forward(int batch, int blocks, const Weights* w, float* x, u16* saved, bool keep) {
  Array<u32> qkv_w(3 * D * D / 2), out_w(D * D / 2), up_w(2 * D * D), down_w(2 * D * D), kt(L * d / 2), vp(L * d / 2);
  Array<float> y(CHUNK * 4 * D), scores(TILE * (L > d ? L : d));
  Array<u16> g(CHUNK * 4 * D > TILE * L ? CHUNK * 4 * D : TILE * L);
  for (int block = 0; block < blocks; block++) {
    transposed_pairs(w->qkv + 3l * block * D * D, D, 3 * D, D, qkv_w);
    transposed_pairs(w->out + 1l * block * D * D, D, D, D, out_w);
    transposed_pairs(w->up + 4l * block * D * D, D, 4 * D, D, up_w);
    transposed_pairs(w->down + 4l * block * D * D, 4 * D, D, 4 * D, down_w);
    const float *qkv_b = w->qkv_bias + 3 * block * D, *up_b = w->up_bias + 4 * block * D, *down_b = w->down_bias + block * D;
    for (int b = 0; b < batch; b++) {
      float* row = x + long(b) * L * D;
      const Saved save(saved + (keep ? (long(block) * batch + b) * saved_elements() : 0));
      for (int top = 0; top < L; top += CHUNK) {
        normalise(row + top * D, CHUNK, D, save.norm1 + top * D, save.rstd1 + top);
        product(CHUNK, 3 * D, D, save.norm1 + top * D, D, qkv_w, y, 3 * D, false);
        add_to_rows(qkv_b, CHUNK, 3 * D, y);
        const float *cosine = w->cosine + top * d / 2, *sine = w->sine + top * d / 2;
        for (int h = 0; h < H; h++) {
          const int at = (h * L + top) * d;
          rotate(y + h * d, 3 * D, CHUNK, d, cosine, sine, 1, save.q + at, d);
          rotate(y + D + h * d, 3 * D, CHUNK, d, cosine, sine, 1, save.k + at, d);
          for (int r = 0; r < CHUNK; r++) round_rows(y + r * 3 * D + 2 * D + h * d, save.v + at + r * d, d);
        }
      }
      for (int h = 0; h < H; h++) {
        transposed_pairs(save.k + h * L * d, d, L, d, kt);
        pairs(save.v + h * L * d, d, L, d, vp, L);
        for (int top = 0; top < L; top += TILE) {
          u16* p = g;
          product(TILE, L, d, save.q + (h * L + top) * d, d, kt, scores, L, false);
          softmax(scores, p, keep ? save.probabilities + (long(h) * L + top) * L : nullptr);
          product(TILE, d, L, p, L, vp, scores, d, false);
          for (int r = 0; r < TILE; r++) round_rows(scores + r * d, save.attended + (top + r) * D + h * d, d);
        }
      }
      for (int top = 0; top < L; top += CHUNK) {
        float* x = row + top * D;
        product(CHUNK, D, D, save.attended + top * D, D, out_w, x, D, true);
        normalise(x, CHUNK, D, save.norm2 + top * D, save.rstd2 + top);
        product(CHUNK, 4 * D, D, save.norm2 + top * D, D, up_w, y, 4 * D, false);
        gelu(y, up_b, CHUNK, 4 * D, keep ? save.hidden + top * 4 * D : nullptr, g);
        add_to_rows(down_b, CHUNK, D, x);
        product(CHUNK, D, 4 * D, g, 4 * D, down_w, x, D, true);
      }
    }
  }
  _mm_sfence();  // after the streamed stores
}

// dx: gradient of the output, replaced by that of the input. grads: of the parameters.
void trunk_backward(int batch, int blocks, const Weights* w, const Gradients* grads, float* dx, const u16* saved) {
  Array<u32> qkv_w(3 * D * D / 2), out_w(D * D / 2), up_w(2 * D * D), down_w(2 * D * D);
  Array<u32> vt(L * d / 2), kp(L * d / 2), qp(L * d / 2), dop(L * d / 2), dsp(L * L / 2), pp(L * L / 2);
  Array<u32> narrow_left(L * D / 2), narrow_right(L * D / 2), wide_left(L * 4 * D / 2), wide_right(L * 4 * D / 2);
  Array<float> y(CHUNK * 4 * D), scores(TILE * (L > d ? L : d)), dq(L * d), inner(TILE);
  Array<u16> dy(CHUNK * D), dh(CHUNK * 4 * D), dattended(L * D), dqkv(L * 3 * D), ds(TILE * L);
  for (int block = blocks - 1; block >= 0; block--) {
    pairs(w->qkv + 3l * block * D * D, D, 3 * D, D, qkv_w, 3 * D);
    pairs(w->out + 1l * block * D * D, D, D, D, out_w, D);
    pairs(w->up + 4l * block * D * D, D, 4 * D, D, up_w, 4 * D);
    pairs(w->down + 4l * block * D * D, 4 * D, D, 4 * D, down_w, D);
    float *dqkv_w = grads->qkv + 3l * block * D * D, *dout_w = grads->out + 1l * block * D * D;
    float *dup_w = grads->up + 4l * block * D * D, *ddown_w = grads->down + 4l * block * D * D;
    for (int b = 0; b < batch; b++) {
      float* row = dx + long(b) * L * D;
      const Saved save(const_cast<u16*>(saved) + (long(block) * batch + b) * saved_elements());
      // The MLP.
      for (int top = 0; top < L; top += CHUNK) {
        float* x = row + top * D;
        round_rows(x, dy, CHUNK * D);
        product(CHUNK, 4 * D, D, dy, D, down_w, y, 4 * D, false);
        gelu_backward(save.hidden + top * 4 * D, y, CHUNK, 4 * D, wide_right, dh, wide_left, L, top);
        add_columns(x, CHUNK, D, grads->down_bias + block * D);
        add_columns(dh, CHUNK, 4 * D, grads->up_bias + 4 * block * D);
        pairs(dy, D, CHUNK, D, narrow_left, L, top);
        product(CHUNK, D, 4 * D, dh, 4 * D, up_w, y, D, false);
        normalise_backward(y, save.norm2 + top * D, save.rstd2 + top, CHUNK, D, x);
      }
      pairs(save.norm2, D, L, D, narrow_right, L);
      product(D, 4 * D, L, narrow_left, 0, wide_right, ddown_w, 4 * D, b > 0);
      product(4 * D, D, L, wide_left, 0, narrow_right, dup_w, D, b > 0);
      // Attention.
      for (int top = 0; top < L; top += CHUNK) {
        round_rows(row + top * D, dy, CHUNK * D);
        pairs(dy, D, CHUNK, D, narrow_left, L, top);
        product(CHUNK, D, D, dy, D, out_w, y, D, false);
        round_rows(y, dattended + top * D, CHUNK * D);
      }
      pairs(save.attended, D, L, D, narrow_right, L);
      product(D, D, L, narrow_left, 0, narrow_right, dout_w, D, b > 0);
      for (int h = 0; h < H; h++) {
        transposed_pairs(save.v + h * L * d, d, L, d, vt);
        pairs(save.k + h * L * d, d, L, d, kp, L);
        pairs(save.q + h * L * d, d, L, d, qp, L);
        pairs(dattended + h * d, D, L, d, dop, L);
        for (int top = 0; top < L; top += TILE) {
          const u16 *o = save.attended + top * D + h * d, *grad = dattended + top * D + h * d;
          const u16* p = save.probabilities + (long(h) * L + top) * L;
          product(TILE, L, d, grad, D, vt, scores, L, false);
          for (int r = 0; r < TILE; r++) inner[r] = inner_product(o + r * D, grad + r * D, d);
          softmax_backward(p, scores, inner, TILE, L, ds, dsp, pp, L, top);
          product(TILE, d, L, ds, L, kp, dq + top * d, d, false);
        }
        u16* out = dqkv + h * d;
        rotate(dq, d, L, d, w->cosine, w->sine, -1, out, 3 * D);
        product(L, d, L, dsp, 0, qp, dq, d, false);
        rotate(dq, d, L, d, w->cosine, w->sine, -1, out + D, 3 * D);
        product(L, d, L, pp, 0, dop, dq, d, false);
        for (int r = 0; r < L; r++) round_rows(dq + r * d, out + r * 3 * D + 2 * D, d);
      }
      add_columns(dqkv, L, 3 * D, grads->qkv_bias + 3 * block * D);
      pairs(dqkv, 3 * D, L, 3 * D, wide_left, L);
      pairs(save.norm1, D, L, D, narrow_right, L);
      product(3 * D, D, L, wide_left, 0, narrow_right, dqkv_w, D, b > 0);
      for (int top = 0; top < L; top += CHUNK) {
        product(CHUNK, D, 3 * D, dqkv + top * 3 * D, 3 * D, qkv_w, y, D, false);
        normalise_backward(y, save.norm1 + top * D, save.rstd1 + top, CHUNK, D, row + top * D);
      }
    }
  }
}
}
