// The modulation of a block as part of its matrices. Shift, scale and gate are the same for all
// tokens, so that a product's matrix W becomes diag(left) W diag(right), with the bias
// diag(left) W shift. All arrays hold one kind of matrix, block after block.
#pragma once
#include "rows.h"

struct Modulation {
  const float *left, *right, *shift;  // [blocks, rows], [blocks, columns], [blocks, columns]
};

extern "C" {

// w: the matrices [rows, columns] of the blocks. Overwrites out, adds to bias [blocks, rows].
void fold(int blocks, int rows, int columns, const float* const* w, const Modulation* by, u16* __restrict out, float* __restrict bias) {
  for (int block = 0; block < blocks; block++) {
    const float *right = by->right + long(block) * columns, *shift = by->shift + long(block) * columns;
    for (int r = 0; r < rows; r++, out += columns) {
      const float *row = w[block] + long(r) * columns, left = by->left[block * rows + r];
      __m512 sum = all(0);
      for (int c = 0; c < columns; c += LANES) {
        const __m512 value = wide(row + c) * all(left);
        narrow(out + c, value * wide(right + c));
        sum += value * wide(shift + c);
      }
      bias[block * rows + r] += _mm512_reduce_add_ps(sum);
    }
  }
}

// dw: gradients of the results of `fold`, replaced by those of w. Adds to those of the modulation.
void unfold(int blocks, int rows, int columns, const float* const* w, const Modulation* by, const float* dbias, float* __restrict dw, float* __restrict dleft, float* __restrict dright, float* __restrict dshift) {
  for (int block = 0; block < blocks; block++, dright += columns, dshift += columns) {
    const float *right = by->right + long(block) * columns, *shift = by->shift + long(block) * columns;
    for (int r = 0; r < rows; r++, dw += columns) {
      const float* row = w[block] + long(r) * columns;
      const __m512 left = all(by->left[block * rows + r]), db = all(dbias[block * rows + r]);
      __m512 sum = all(0);
      for (int c = 0; c < columns; c += LANES) {
        const __m512 value = wide(row + c), gradient = wide(dw + c);
        const __m512 dvalue = gradient * wide(right + c) + db * wide(shift + c);
        sum += value * dvalue;
        _mm512_storeu_ps(dw + c, left * dvalue);
        _mm512_storeu_ps(dright + c, wide(dright + c) + left * value * gradient);
        _mm512_storeu_ps(dshift + c, wide(dshift + c) + left * value * db);
      }
      dleft[block * rows + r] += _mm512_reduce_add_ps(sum);
    }
  }
}
}
