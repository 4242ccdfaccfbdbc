// Products of small matrices in bf16 with fp32 sums, for one thread with AVX512-BF16.
//
// Products take their left factor as rows of bf16 and their right one as `pairs`: panels of 32
// columns, in each the elements of two successive rows side by side, as vdpbf16ps wants them. A
// left factor that is transposed is read from pairs too.
#pragma once
#ifndef __AVX512BF16__
#error "needs a processor with AVX512-BF16"
#endif
#include <immintrin.h>

#include <cstdint>
#include <cstring>

using u16 = uint16_t;
using u32 = uint32_t;

constexpr int PANEL = 32, ROWS = 8;  // columns of a panel; rows of C held in registers
static inline float wide(u16 h) {
  u32 bits = u32(h) << 16;
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

static inline u16 narrow(float x) {  // rounds to nearest even
  u32 bits;
  memcpy(&bits, &x, 4);
  return u16((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Rows [rows, columns] of stride ld to pairs, as rows `first` onwards of a matrix with `total` rows.
static void pairs(const u16* __restrict in, int ld, int rows, int columns, u32* out, int total, int first = 0) {
  for (int panel = 0; panel < columns / PANEL; panel++)
    for (int i = 0; i < rows / 2; i++) {
      const u16 *a = in + 2 * i * ld + panel * PANEL, *b = a + ld;
      u32* to = out + (panel * (total / 2) + first / 2 + i) * PANEL;
      for (int c = 0; c < PANEL; c++) to[c] = u32(a[c]) | u32(b[c]) << 16;
    }
}

// The pairs of the transpose of [rows, columns].
static void transposed_pairs(const u16* __restrict in, int ld, int rows, int columns, u32* out) {
  for (int r = 0; r < rows; r++)
    for (int k = 0; k < columns / 2; k++)
      memcpy(out + ((r / PANEL) * (columns / 2) + k) * PANEL + r % PANEL, in + r * ld + 2 * k, 4);
}

static inline __m512bh as_bf16(__m512i x) { return (__m512bh)x; }

// C [m, n] (+)= A [m, k] B [k, n]. a: rows of stride lda, or pairs of its transpose if lda is 0.
static void product(int m, int n, int k, const void* __restrict a, int lda, const u32* __restrict b, float* c, int ldc, bool add) {
  const u32* dwords = (const u32*)a;
  for (int panel = 0; panel < n / PANEL; panel++)
    for (int row = 0; row < m; row += ROWS) {
      const u32* left = lda ? dwords + row * (lda / 2) : dwords + row / PANEL * (k / 2) * PANEL + row % PANEL;
      const long down = lda ? lda / 2 : 1, along = lda ? 1 : PANEL;
      const u32* right = b + panel * (k / 2) * PANEL;
      float* to = c + row * ldc + panel * PANEL;
      __m512 sum[ROWS][2];
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < 2; v++) sum[r][v] = add ? _mm512_loadu_ps(to + r * ldc + 16 * v) : _mm512_setzero_ps();
      for (int i = 0; i < k / 2; i++) {
        const __m512bh b0 = as_bf16(_mm512_loadu_si512(right + i * PANEL));
        const __m512bh b1 = as_bf16(_mm512_loadu_si512(right + i * PANEL + 16));
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
          const __m512bh x = as_bf16(_mm512_set1_epi32(left[r * down + i * along]));
          sum[r][0] = _mm512_dpbf16_ps(sum[r][0], x, b0);
          sum[r][1] = _mm512_dpbf16_ps(sum[r][1], x, b1);
        }
      }
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < 2; v++) _mm512_storeu_ps(to + r * ldc + 16 * v, sum[r][v]);
    }
}
