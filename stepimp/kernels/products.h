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
#include <cstdlib>
#include <cstring>

using u16 = uint16_t;
using u32 = uint32_t;

constexpr int PANEL = 32, ROWS = 8;  // columns of a panel; rows of C held in registers
constexpr int LANES = 16;            // floats in a vector

template <typename T>
struct Array {  // of n elements, not set; none of its vectors lies in two cache lines
  T* data;
  explicit Array(long n) : data((T*)std::aligned_alloc(64, (n * sizeof(T) + 63) / 64 * 64)) {}
  Array(const Array&) = delete;
  ~Array() { std::free(data); }
  operator T*() const { return data; }
};

static inline __m512bh as_bf16(__m512i x) { return (__m512bh)x; }

// 16 floats from and to bf16, rounded to nearest even; numbers below 1.2e-38 become 0.
static inline __m256i load16(const u16* in) { return _mm256_loadu_si256((const __m256i*)in); }

static inline __m512 wide(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }

static inline __m512 wide(const u16* in) { return wide(load16(in)); }

static inline __m512 wide(const float* in) { return _mm512_loadu_ps(in); }

static inline __m256i narrow(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

static inline void store16(u16* out, __m256i x) { _mm256_storeu_si256((__m256i*)out, x); }

// Past the cache, for what is read much later.
static inline void stream16(u16* out, __m256i x) { _mm256_stream_si256((__m256i*)out, x); }

static inline void narrow(u16* out, __m512 x) { store16(out, narrow(x)); }

static void round_rows(const float* __restrict in, u16* __restrict out, long n) {
  for (long i = 0; i < n; i += LANES) narrow(out + i, wide(in + i));
}

static inline __m512i pair(__m256i a, __m256i b) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(a), _mm512_slli_epi32(_mm512_cvtepu16_epi32(b), 16));
}

// Where the pairs of `row` and the next one begin, of a matrix with `total` rows.
static inline u32* pairs_at(u32* pairs, int total, int row, int column) {
  return pairs + (column / PANEL * (total / 2) + row / 2) * PANEL + column % PANEL;
}

// Rows [rows, columns] of stride ld to pairs, as rows `first` onwards of a matrix with `total` rows.
static void pairs(const u16* __restrict in, int ld, int rows, int columns, u32* __restrict out, int total, int first = 0) {
  for (int panel = 0; panel < columns; panel += PANEL)
    for (int r = 0; r < rows; r += 2)
      for (int c = panel; c < panel + PANEL; c += LANES)
        _mm512_storeu_si512(pairs_at(out, total, first + r, c), pair(load16(in + r * ld + c), load16(in + (r + 1) * ld + c)));
}

// Transposes 16 x 16 elements of 4 bytes.
static inline void transpose16(const void* in, long ldi, void* out, long ldo) {
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int r = 0; r < 16; r++) a[r] = _mm512_loadu_si512((const u32*)in + r * ldi);
#pragma GCC unroll 8
  for (int r = 0; r < 16; r += 2) b[r] = _mm512_unpacklo_epi32(a[r], a[r + 1]), b[r + 1] = _mm512_unpackhi_epi32(a[r], a[r + 1]);
#pragma GCC unroll 4
  for (int r = 0; r < 16; r += 4) {  // a[r + j]: of rows r to r + 3 the columns j, j + 4, j + 8, j + 12
    a[r] = _mm512_unpacklo_epi64(b[r], b[r + 2]), a[r + 1] = _mm512_unpackhi_epi64(b[r], b[r + 2]);
    a[r + 2] = _mm512_unpacklo_epi64(b[r + 1], b[r + 3]), a[r + 3] = _mm512_unpackhi_epi64(b[r + 1], b[r + 3]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    const __m512i even0 = _mm512_shuffle_i32x4(a[j], a[j + 4], 0x88), even1 = _mm512_shuffle_i32x4(a[j + 8], a[j + 12], 0x88);
    const __m512i odd0 = _mm512_shuffle_i32x4(a[j], a[j + 4], 0xdd), odd1 = _mm512_shuffle_i32x4(a[j + 8], a[j + 12], 0xdd);
    _mm512_storeu_si512((u32*)out + j * ldo, _mm512_shuffle_i32x4(even0, even1, 0x88));
    _mm512_storeu_si512((u32*)out + (j + 4) * ldo, _mm512_shuffle_i32x4(odd0, odd1, 0x88));
    _mm512_storeu_si512((u32*)out + (j + 8) * ldo, _mm512_shuffle_i32x4(even0, even1, 0xdd));
    _mm512_storeu_si512((u32*)out + (j + 12) * ldo, _mm512_shuffle_i32x4(odd0, odd1, 0xdd));
  }
}

// The pairs of the transpose of [rows, columns].
static void transposed_pairs(const u16* __restrict in, int ld, int rows, int columns, u32* __restrict out) {
  for (int r = 0; r < rows; r += 16)
    for (int k = 0; k < columns / 2; k += 16)
      transpose16(in + r * ld + 2 * k, ld / 2, out + (r / PANEL * (columns / 2) + k) * PANEL + r % PANEL, PANEL);
}

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
      if (add)  // the next rows, of which no prefetcher of the processor knows
#pragma GCC unroll 8
        for (int r = ROWS; r < 2 * ROWS; r++)
          for (int v = 0; v < 2; v++) _mm_prefetch(to + r * ldc + 16 * v, _MM_HINT_T0);
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
