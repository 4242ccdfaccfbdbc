// A stack of pre-norm Transformer blocks on one CPU thread, forward and backward, in bf16 with fp32
// sums (AVX512-BF16). One sequence passes through a block while its activations lie in the cache.
//
//   x += attention(normalised x) ; x += down(gelu(up(normalised x)))
//
// Compiled for one shape: -DLENGTH=, -DDIM= and -DHEADS=, of which LENGTH, DIM and DIM / HEADS are
// multiples of 32. Scores come in units of log 2, by the scale of the query weights.
#include "products.h"

#include <cmath>
#include <vector>

constexpr int TILE = 32;             // rows of scores computed at once
constexpr int L = LENGTH, D = DIM, H = HEADS, d = D / H;
constexpr float LN2 = 0.6931471805599453f, LOG2E = 1.4426950408889634f, EPS = 1e-5f;
constexpr float GELU = 1.5957691216057308f, CUBIC = 0.044715f;  // 2 sqrt(2 / pi)

static inline float exp2_fast(float x) {  // relative error below 1e-5 from -126 to 126, else that of the nearer end
  x = x < -126.f ? -126.f : x > 126.f ? 126.f : x;
  float n = std::rint(x), f = x - n;
  float p = 1.f + f * (0.69314718f + f * (0.24022651f + f * (0.05550411f + f * (0.0096181f + f * 0.0013333f))));
  u32 bits = u32(int(n) + 127) << 23;
  float scale;
  memcpy(&scale, &bits, 4);
  return p * scale;
}

static void round_rows(const float* __restrict in, u16* out, long n) {
  for (long i = 0; i < n; i++) out[i] = narrow(in[i]);
}

static void add_columns(const u16* __restrict in, int rows, int columns, float* out) {
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) out[c] += wide(in[r * columns + c]);
}

static void normalise(const float* __restrict x, int rows, int dim, u16* __restrict out, float* __restrict rstd) {
  for (int r = 0; r < rows; r++, x += dim, out += dim) {
    float mean = 0, square = 0;
    for (int c = 0; c < dim; c++) mean += x[c];
    mean /= dim;
    for (int c = 0; c < dim; c++) square += (x[c] - mean) * (x[c] - mean);
    rstd[r] = 1 / std::sqrt(square / dim + EPS);
    for (int c = 0; c < dim; c++) out[c] = narrow((x[c] - mean) * rstd[r]);
  }
}

// dx += gradient of `normalise`, of which y is the result and dy its gradient.
static void normalise_backward(const float* __restrict dy, const u16* __restrict y, const float* __restrict rstd, int rows, int dim, float* __restrict dx) {
  for (int r = 0; r < rows; r++, dy += dim, y += dim, dx += dim) {
    float mean = 0, along = 0;
    for (int c = 0; c < dim; c++) mean += dy[c], along += dy[c] * wide(y[c]);
    mean /= dim, along /= dim;
    for (int c = 0; c < dim; c++) dx[c] += rstd[r] * (dy[c] - mean - wide(y[c]) * along);
  }
}

// Rotates [rows, d] of stride ld by the angles (rotate-half layout), backwards if sign is -1.
static void rotate(const float* __restrict in, int ld, int rows, int d, const float* __restrict cosine, const float* __restrict sine, float sign, u16* __restrict out, int ldo) {
  const int half = d / 2;
  for (int r = 0; r < rows; r++, in += ld, out += ldo, cosine += half, sine += half)
    for (int c = 0; c < half; c++) {
      const float a = in[c], b = in[c + half], s = sign * sine[c];
      out[c] = narrow(a * cosine[c] - b * s);
      out[c + half] = narrow(b * cosine[c] + a * s);
    }
}

extern "C" {

// Weights are [out, in] in bf16, biases and their gradients fp32, all of one kind block after block.
struct Weights {
  const u16 *qkv, *out, *up, *down;
  const float *qkv_bias, *up_bias, *down_bias, *cosine, *sine;  // angles: [L, d / 2]
};

struct Gradients {  // added to
  float *qkv, *out, *up, *down, *qkv_bias, *up_bias, *down_bias;
};

// bf16 elements that one sequence leaves behind in one block.
long saved_elements() { return 10l * L * D + long(H) * L * L + 4l * L; }
}

struct Saved {  // what a block keeps of a sequence; q, k, v: [heads, L, d], q and k rotated
  u16 *norm1, *q, *k, *v, *attended, *norm2, *hidden;
  u32* probabilities;  // pairs of [L, L] per head
  float *rstd1, *rstd2;
  explicit Saved(u16* at) {
    const long n = long(L) * D;
    norm1 = at, q = at + n, k = q + n, v = k + n, attended = v + n, norm2 = attended + n, hidden = norm2 + n;
    probabilities = (u32*)(hidden + 4 * n);
    rstd1 = (float*)(probabilities + long(H) * L * L / 2), rstd2 = rstd1 + L;
  }
};

extern "C" {

// x: [batch, L, D], replaced by the last block's output. saved: saved_elements() for each sequence
// and block; without `keep` for one alone, and what it holds afterwards is of no use.
void trunk_forward(int batch, int blocks, const Weights* w, float* x, u16* saved, bool keep) {
  std::vector<u32> qkv_w(3 * D * D / 2), out_w(D * D / 2), up_w(2 * D * D), down_w(2 * D * D), kt(L * d / 2), vp(L * d / 2);
  std::vector<float> wide_rows(L * 4 * D), scores(TILE * (L > d ? L : d));
  std::vector<u16> p(TILE * L), g(L * 4 * D);
  float* y = wide_rows.data();
  for (int block = 0; block < blocks; block++) {
    transposed_pairs(w->qkv + 3l * block * D * D, D, 3 * D, D, qkv_w.data());
    transposed_pairs(w->out + 1l * block * D * D, D, D, D, out_w.data());
    transposed_pairs(w->up + 4l * block * D * D, D, 4 * D, D, up_w.data());
    transposed_pairs(w->down + 4l * block * D * D, 4 * D, D, 4 * D, down_w.data());
    const float *qkv_b = w->qkv_bias + 3 * block * D, *up_b = w->up_bias + 4 * block * D, *down_b = w->down_bias + block * D;
    for (int b = 0; b < batch; b++) {
      float* row = x + long(b) * L * D;
      const Saved save(saved + (keep ? (long(block) * batch + b) * saved_elements() : 0));
      normalise(row, L, D, save.norm1, save.rstd1);
      product(L, 3 * D, D, save.norm1, D, qkv_w.data(), y, 3 * D, false);
      for (int r = 0; r < L; r++)
        for (int c = 0; c < 3 * D; c++) y[r * 3 * D + c] += qkv_b[c];
      for (int h = 0; h < H; h++) {
        u16 *q = save.q + h * L * d, *k = save.k + h * L * d, *v = save.v + h * L * d;
        u32* probabilities = save.probabilities + long(h) * L * L / 2;
        rotate(y + h * d, 3 * D, L, d, w->cosine, w->sine, 1, q, d);
        rotate(y + D + h * d, 3 * D, L, d, w->cosine, w->sine, 1, k, d);
        for (int r = 0; r < L; r++) round_rows(y + r * 3 * D + 2 * D + h * d, v + r * d, d);
        transposed_pairs(k, d, L, d, kt.data());
        pairs(v, d, L, d, vp.data(), L);
        for (int top = 0; top < L; top += TILE) {
          product(TILE, L, d, q + top * d, d, kt.data(), scores.data(), L, false);
          for (int r = 0; r < TILE; r++) {
            float *e = scores.data() + r * L, most = -3e38f, sum = 0;
            for (int c = 0; c < L; c++) most = e[c] > most ? e[c] : most;
            for (int c = 0; c < L; c++) sum += e[c] = exp2_fast(e[c] - most);
            sum = 1 / sum;
            for (int c = 0; c < L; c++) p[r * L + c] = narrow(e[c] * sum);
          }
          if (keep) pairs(p.data(), L, TILE, L, probabilities, L, top);
          product(TILE, d, L, p.data(), L, vp.data(), scores.data(), d, false);
          for (int r = 0; r < TILE; r++) round_rows(scores.data() + r * d, save.attended + (top + r) * D + h * d, d);
        }
      }
      product(L, D, D, save.attended, D, out_w.data(), row, D, true);
      normalise(row, L, D, save.norm2, save.rstd2);
      product(L, 4 * D, D, save.norm2, D, up_w.data(), y, 4 * D, false);
      for (int r = 0; r < L; r++)
        for (int c = 0; c < 4 * D; c++) {
          const float z = y[r * 4 * D + c] + up_b[c];
          if (keep) save.hidden[r * 4 * D + c] = narrow(z);
          g[r * 4 * D + c] = narrow(z / (1 + exp2_fast(-LOG2E * GELU * (z + CUBIC * z * z * z))));
        }
      for (int r = 0; r < L; r++)
        for (int c = 0; c < D; c++) row[r * D + c] += down_b[c];
      product(L, D, 4 * D, g.data(), 4 * D, down_w.data(), row, D, true);
    }
  }
}

// dx: gradient of the output, replaced by that of the input. Adds the parameters' gradients to `grads`.
void trunk_backward(int batch, int blocks, const Weights* w, const Gradients* grads, float* dx, const u16* __restrict saved) {
  std::vector<u32> qkv_w(3 * D * D / 2), out_w(D * D / 2), up_w(2 * D * D), down_w(2 * D * D);
  std::vector<u32> vt(L * d / 2), kp(L * d / 2), qp(L * d / 2), dop(L * d / 2), dsp(L * L / 2);
  std::vector<u32> left(L * 4 * D / 2), right(L * 4 * D / 2);
  std::vector<float> wide_rows(L * 4 * D), scores(TILE * (L > d ? L : d)), dq(L * d);
  std::vector<u16> dy(L * D), dh(L * 4 * D), g(L * 4 * D), ds(TILE * L);
  float* y = wide_rows.data();
  for (int block = blocks - 1; block >= 0; block--) {
    pairs(w->qkv + 3l * block * D * D, D, 3 * D, D, qkv_w.data(), 3 * D);
    pairs(w->out + 1l * block * D * D, D, D, D, out_w.data(), D);
    pairs(w->up + 4l * block * D * D, D, 4 * D, D, up_w.data(), 4 * D);
    pairs(w->down + 4l * block * D * D, 4 * D, D, 4 * D, down_w.data(), D);
    float *dqkv_w = grads->qkv + 3l * block * D * D, *dout_w = grads->out + 1l * block * D * D;
    float *dup_w = grads->up + 4l * block * D * D, *ddown_w = grads->down + 4l * block * D * D;
    for (int b = 0; b < batch; b++) {
      float* row = dx + long(b) * L * D;
      const Saved save(const_cast<u16*>(saved) + (long(block) * batch + b) * saved_elements());
      // The MLP.
      round_rows(row, dy.data(), L * D);
      add_columns(dy.data(), L, D, grads->down_bias + block * D);
      product(L, 4 * D, D, dy.data(), D, down_w.data(), y, 4 * D, false);
      for (int i = 0; i < L * 4 * D; i++) {
        const float z = wide(save.hidden[i]);
        const float gate = 1 / (1 + exp2_fast(-LOG2E * GELU * (z + CUBIC * z * z * z)));
        g[i] = narrow(z * gate);
        dh[i] = narrow(y[i] * (gate + z * gate * (1 - gate) * GELU * (1 + 3 * CUBIC * z * z)));
      }
      pairs(dy.data(), D, L, D, left.data(), L);
      pairs(g.data(), 4 * D, L, 4 * D, right.data(), L);
      product(D, 4 * D, L, left.data(), 0, right.data(), ddown_w, 4 * D, true);
      add_columns(dh.data(), L, 4 * D, grads->up_bias + 4 * block * D);
      pairs(dh.data(), 4 * D, L, 4 * D, left.data(), L);
      pairs(save.norm2, D, L, D, right.data(), L);
      product(4 * D, D, L, left.data(), 0, right.data(), dup_w, D, true);
      product(L, D, 4 * D, dh.data(), 4 * D, up_w.data(), y, D, false);
      normalise_backward(y, save.norm2, save.rstd2, L, D, row);
      // Attention.
      round_rows(row, dy.data(), L * D);
      pairs(dy.data(), D, L, D, left.data(), L);
      pairs(save.attended, D, L, D, right.data(), L);
      product(D, D, L, left.data(), 0, right.data(), dout_w, D, true);
      product(L, D, D, dy.data(), D, out_w.data(), y, D, false);
      u16 *attended = g.data(), *dqkv = dh.data();
      round_rows(y, attended, L * D);
      for (int h = 0; h < H; h++) {
        const u16 *q = save.q + h * L * d, *k = save.k + h * L * d, *v = save.v + h * L * d;
        const u32* probabilities = save.probabilities + long(h) * L * L / 2;
        transposed_pairs(v, d, L, d, vt.data());
        pairs(k, d, L, d, kp.data(), L);
        pairs(q, d, L, d, qp.data(), L);
        pairs(attended + h * d, D, L, d, dop.data(), L);
        for (int top = 0; top < L; top += TILE) {
          product(TILE, L, d, attended + top * D + h * d, D, vt.data(), scores.data(), L, false);
          for (int r = 0; r < TILE; r++) {
            float inner = 0, *dp = scores.data() + r * L;
            const u16 *o = save.attended + (top + r) * D + h * d, *grad = attended + (top + r) * D + h * d;
            for (int c = 0; c < d; c++) inner += wide(o[c]) * wide(grad[c]);
            const int shift = r % 2 ? 0 : 16;  // the even row is the lower half of a pair
            for (int panel = 0; panel < L / PANEL; panel++) {
              const u32* from = probabilities + (panel * (L / 2) + (top + r) / 2) * PANEL;
              for (int c = 0; c < PANEL; c++) {
                const u32 bits = (from[c] << shift) & 0xffff0000u;
                float probability;
                memcpy(&probability, &bits, 4);
                ds[r * L + panel * PANEL + c] = narrow(LN2 * probability * (dp[panel * PANEL + c] - inner));
              }
            }
          }
          pairs(ds.data(), L, TILE, L, dsp.data(), L, top);
          product(TILE, d, L, ds.data(), L, kp.data(), dq.data() + top * d, d, false);
        }
        rotate(dq.data(), d, L, d, w->cosine, w->sine, -1, dqkv + h * d, 3 * D);
        product(L, d, L, dsp.data(), 0, qp.data(), dq.data(), d, false);
        rotate(dq.data(), d, L, d, w->cosine, w->sine, -1, dqkv + D + h * d, 3 * D);
        product(L, d, L, probabilities, 0, dop.data(), dq.data(), d, false);
        for (int r = 0; r < L; r++) round_rows(dq.data() + r * d, dqkv + r * 3 * D + 2 * D + h * d, d);
      }
      add_columns(dqkv, L, 3 * D, grads->qkv_bias + 3 * block * D);
      pairs(dqkv, 3 * D, L, 3 * D, left.data(), L);
      pairs(save.norm1, D, L, D, right.data(), L);
      product(3 * D, D, L, left.data(), 0, right.data(), dqkv_w, D, true);
      product(L, D, 3 * D, dqkv, 3 * D, qkv_w.data(), y, D, false);
      normalise_backward(y, save.norm1, save.rstd1, L, D, row);
    }
  }
}
}
