// What a block does between its products, row by row, with 16 floats at once.
#pragma once
#include "products.h"

#include <cmath>

constexpr float LN2 = 0.6931471805599453f, LOG2E = 1.4426950408889634f, EPS = 1e-5f;
constexpr float GELU = 1.5957691216057308f, CUBIC = 0.044715f;  // 2 sqrt(2 / pi)

static inline __m512 all(float x) { return _mm512_set1_ps(x); }

constexpr float EXP2[] = {0.0013333f, 0.0096181f, 0.05550411f, 0.24022651f, 0.69314718f, 1.f};  // 2^x near 0

static inline __m512 exp2_fast(__m512 x) {  // relative error below 1e-5
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = x - n;
  __m512 p = all(0);
  for (float c : EXP2) p = _mm512_fmadd_ps(p, f, all(c));
  return _mm512_scalef_ps(p, n);
}

// out[columns] += the sum of the rows, bf16 or float
template <typename Rows>
static void add_columns(const Rows& in, int rows, int columns, float* __restrict out) {
  for (int c = 0; c < columns; c += LANES) {
    __m512 sum = wide(out + c);
    for (int r = 0; r < rows; r++) sum += wide(in + r * columns + c);
    _mm512_storeu_ps(out + c, sum);
  }
}

static void add_to_rows(const float* __restrict bias, int rows, int columns, float* __restrict out) {
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c++) out[r * columns + c] += bias[c];
}

static void normalise(const float* __restrict x, int rows, int dim, u16* __restrict out, float* __restrict rstd) {
  for (int r = 0; r < rows; r++, x += dim, out += dim) {
    float mean = 0, square = 0;
    for (int c = 0; c < dim; c++) mean += x[c];
    mean /= dim;
    for (int c = 0; c < dim; c++) square += (x[c] - mean) * (x[c] - mean);
    rstd[r] = 1 / std::sqrt(square / dim + EPS);
    for (int c = 0; c < dim; c += LANES) narrow(out + c, (wide(x + c) - all(mean)) * all(rstd[r]));
  }
}

// dx += gradient of `normalise`, of which y is the result and dy its gradient.
static void normalise_backward(const float* __restrict dy, const u16* __restrict y, const float* __restrict rstd, int rows, int dim, float* __restrict dx) {
  for (int r = 0; r < rows; r++, dy += dim, y += dim, dx += dim) {
    __m512 sum = all(0), along = all(0);
    for (int c = 0; c < dim; c += LANES) {
      const __m512 g = wide(dy + c);
      sum += g, along += g * wide(y + c);
    }
    const __m512 mean = all(_mm512_reduce_add_ps(sum) / dim), slope = all(_mm512_reduce_add_ps(along) / dim);
    for (int c = 0; c < dim; c += LANES)
      _mm512_storeu_ps(dx + c, wide(dx + c) + all(rstd[r]) * (wide(dy + c) - mean - wide(y + c) * slope));
  }
}

// Rotates [rows, d] of stride ld by the angles (rotate-half layout), backwards if sign is -1.
static void rotate(const float* __restrict in, int ld, int rows, int d, const float* __restrict cosine, const float* __restrict sine, float sign, u16* __restrict out, int ldo) {
  const int half = d / 2;
  for (int r = 0; r < rows; r++, in += ld, out += ldo, cosine += half, sine += half)
    for (int c = 0; c < half; c += LANES) {
      const __m512 a = wide(in + c), b = wide(in + c + half);
      const __m512 cos = wide(cosine + c), sin = wide(sine + c) * all(sign);
      narrow(out + c, a * cos - b * sin);
      narrow(out + c + half, b * cos + a * sin);
    }
}

static float inner_product(const u16* __restrict a, const u16* __restrict b, int n) {
  __m512 sum = all(0);
  for (int c = 0; c < n; c += LANES) sum += wide(a + c) * wide(b + c);
  return _mm512_reduce_add_ps(sum);
}

struct Backward {  // 16 elements of a product's input, and of its gradient
  __m256i value, gradient;
};

// `backward(r, i)`: what to make of the 16 elements of row r that begin at in + i. Writes values as
// pairs and gradients as rows and as pairs; both pairs as rows `first` onwards of `total`.
template <typename Function>
static inline void backward_to_pairs(const u16* in, int rows, int columns, u32* value_pairs, u16* gradient, u32* gradient_pairs, int total, int first, Function backward) {
  for (int panel = 0; panel < columns; panel += PANEL)
    for (int r = 0; r < rows; r += 2)
      for (int c = panel; c < panel + PANEL; c += LANES) {
        const int i = r * columns + c, j = i + columns;
        _mm_prefetch(in + rows * columns + i, _MM_HINT_T1);  // the next rows
        _mm_prefetch(in + rows * columns + j, _MM_HINT_T1);
        const Backward a = backward(r, i), b = backward(r + 1, j);
        store16(gradient + i, a.gradient), store16(gradient + j, b.gradient);
        _mm512_storeu_si512(pairs_at(gradient_pairs, total, first + r, c), pair(a.gradient, b.gradient));
        _mm512_storeu_si512(pairs_at(value_pairs, total, first + r, c), pair(a.value, b.value));
      }
}

// p: [rows, columns] probabilities, of whose gradient dp the product with them is `inner`, [rows].
// ds: gradient of the scores, as rows and as pairs; p_pairs: p as pairs.
static void softmax_backward(const u16* __restrict p, const float* __restrict dp, const float* __restrict inner, int rows, int columns, u16* __restrict ds, u32* __restrict ds_pairs, u32* __restrict p_pairs, int total, int first) {
  backward_to_pairs(p, rows, columns, p_pairs, ds, ds_pairs, total, first, [=](int r, int i) -> Backward {
    const __m256i value = load16(p + i);
    return {value, narrow(all(LN2) * wide(value) * (wide(dp + i) - all(inner[r])))};
  });
}

// GELU in its tanh form, z * gate with gate = sigmoid(2 sqrt(2 / pi) (z + 0.044715 z^3)).
static inline __m512 gate_divisor(__m512 z) { return all(1) + exp2_fast(all(-LOG2E * GELU) * (z + all(CUBIC) * z * z * z)); }

// y: rows [rows, columns] without their bias; hidden, unless null: them with it; g: GELU of that.
static void gelu(const float* __restrict y, const float* __restrict bias, int rows, int columns, u16* __restrict hidden, u16* __restrict g) {
  for (int r = 0; r < rows; r++)
    for (int c = 0; c < columns; c += LANES) {
      const int i = r * columns + c;
      const __m512 z = wide(y + i) + wide(bias + c);
      if (hidden) stream16(hidden + i, narrow(z));
      narrow(g + i, z / gate_divisor(z));
    }
}

// g: GELU of hidden [rows, columns], as pairs; dh: gradient of hidden, of which dy is that of g, as
// rows and as pairs.
static void gelu_backward(const u16* __restrict hidden, const float* __restrict dy, int rows, int columns, u32* __restrict g_pairs, u16* __restrict dh, u32* __restrict dh_pairs, int total, int first) {
  backward_to_pairs(hidden, rows, columns, g_pairs, dh, dh_pairs, total, first, [=](int, int i) -> Backward {
    const __m512 z = wide(hidden + i), gate = all(1) / gate_divisor(z), value = z * gate;
    const __m512 slope = gate + value * (all(1) - gate) * (all(GELU) + all(3 * CUBIC * GELU) * z * z);
    return {narrow(value), narrow(wide(dy + i) * slope)};
  });
}
