// Muon's step on one CPU thread, in bf16 with fp32 sums (AVX512-BF16). Each matrix stays in the
// cache from its gradient to its new values. Sides are multiples of 32.
#include "rows.h"

#include <algorithm>

constexpr float A = 3.4445f, B = -4.7750f, C = 2.0315f;
constexpr int ITERATIONS = 5, CHUNK = 32;

static void transpose(const float* in, int rows, int columns, float* out) {
  for (int r = 0; r < rows; r += 16)
    for (int c = 0; c < columns; c += 16) transpose16(in + r * columns + c, columns, out + c * rows + r, rows);
}

// out [n, n] = x^T x, of x [m, n] as pairs: the panels below the diagonal and their reflections.
static void gram(const u32* x, int m, int n, float* out) {
  for (int c = 0; c < n; c += PANEL) {
    const u32* panel = x + c * (m / 2);
    product(n - c, PANEL, m, panel, 0, panel, out + c * n + c, n, false);
    for (int r = c + PANEL; r < n; r += 16)
      for (int k = c; k < c + PANEL; k += 16) transpose16(out + r * n + k, n, out + k * n + r, n);
  }
}

// Newton-Schulz: x [m, n], m >= n, of norm 1 in bf16, is overwritten; y: its orthogonal factor.
static void orthogonalize(u16* x, int m, int n, float* y) {
  Array<u32> x_pairs(m * n / 2), z_pairs(n * n / 2);
  Array<float> sums(n * n);
  Array<u16> z(n * n);
  for (int step = 0; step < ITERATIONS; step++) {
    pairs(x, n, m, n, x_pairs, m);
    gram(x_pairs, m, n, sums);
    round_rows(sums, z, n * n);
    pairs(z, n, n, n, z_pairs, n);
    gram(z_pairs, n, n, sums);  // z is symmetric: its square
    for (int i = 0; i < n * n; i += LANES) narrow(z + i, all(B) * wide(z + i) + all(C) * wide(sums + i));
    pairs(z, n, n, n, z_pairs, n);
    for (int top = 0; top < m * n; top += CHUNK * n) {
      for (int i = top; i < top + CHUNK * n; i += LANES) _mm512_storeu_ps(y + i, all(A) * wide(x + i));
      product(CHUNK, n, n, x + top, n, z_pairs, y + top, n, true);
      round_rows(y + top, x + top, CHUNK * n);
    }
  }
}

extern "C" void muon_step(int matrices, int rows, int columns, float* const* weights, const float* const* gradients, float* const* averages, float momentum, float lr, float decay) {
  const int n = rows * columns;
  Array<float> update(n), turned(n);
  Array<u16> x(n);
  for (int matrix = 0; matrix < matrices; matrix++) {
    float *w = weights[matrix], *average = averages[matrix], square = 0;
    const float* g = gradients[matrix];
    for (int i = 0; i < n; i++) {
      average[i] += (1 - momentum) * (g[i] - average[i]);
      update[i] = g[i] + momentum * (average[i] - g[i]);
      square += update[i] * update[i];
    }
    const float scale = 1 / std::max(std::sqrt(square), 1e-7f);
    for (int i = 0; i < n; i++) update[i] *= scale;
    if (rows < columns) transpose(update, rows, columns, turned), std::swap(update.data, turned.data);
    round_rows(update, x, n);
    orthogonalize(x, std::max(rows, columns), std::min(rows, columns), update);
    if (rows < columns) transpose(update, columns, rows, turned), std::swap(update.data, turned.data);
    for (int i = 0; i < n; i++) w[i] = w[i] * (1 - decay) - lr * update[i];
  }
}
