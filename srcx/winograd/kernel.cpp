// 3 x 3 convolutions (stride 1, padding 1) by Winograd's F(4x4, 3x3): a quarter of the multiplications.
//
// Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, arXiv:1509.09308.
// Channels innermost in memory (NHWC), channels a multiple of 64, AVX-512 or AVX2 with FMA. Maps are float32 or
// bfloat16; weights, transforms, products and sums are float32 in both cases.
//
// Every 4 x 4 tile of the output sees 6 x 6 of the input. Per block of tiles: transform the input tiles, one
// 64 x 64 product for each of the 36 places of a transformed tile, transform back. A block's buffers fit L2.
//
// Transformed weights are packed as [K / 64][C / 64][36][64 of C][64 of K].

// It knows nothing of torch, so it compiles in seconds, and one file serves every torch and Python.

#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

// The upper half of a float. It is stored rounded to nearest, ties to even; NaN stays NaN.
struct Bf16 {
  uint16_t bits;
};
constexpr int kNaN = 0x7fc00000;

// A vector of floats, and how many of them a product keeps of each row: sums, row and factor fit the registers.
#if defined(__AVX512F__)
using Vec = __m512;
constexpr int kSums = 4;
inline Vec load(const float* from) { return _mm512_loadu_ps(from); }
inline void store(float* to, Vec a) { _mm512_storeu_ps(to, a); }
inline Vec all(float a) { return _mm512_set1_ps(a); }
inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec times_plus(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }    // a b + c
inline Vec minus_times(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a b
inline Vec load(const Bf16* from) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline void store(Bf16* to, Vec a) {
  const __m512i bits = _mm512_castps_si512(a);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  rounded = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), _mm512_set1_epi32(kNaN));
  const __m256i halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), halves);
}
#else
using Vec = __m256;
constexpr int kSums = 2;
inline Vec load(const float* from) { return _mm256_loadu_ps(from); }
inline void store(float* to, Vec a) { _mm256_storeu_ps(to, a); }
inline Vec all(float a) { return _mm256_set1_ps(a); }
inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec times_plus(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec minus_times(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
inline Vec load(const Bf16* from) {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}
inline void store(Bf16* to, Vec a) {
  const __m256i bits = _mm256_castps_si256(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  rounded = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, _mm256_set1_epi32(kNaN), is_nan), 16);
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(rounded, rounded), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(packed));
}
#endif

constexpr int kWide = sizeof(Vec) / sizeof(float);
constexpr int kChannels = 64;  // of a packed product
constexpr int kPlaces = 36;    // of a transformed tile
constexpr int kBlock = 36;     // tiles of a forward pass in L2
constexpr int kSum = 7;        // place of a transformed gradient that is the sum over its tile

inline Vec times_plus(float a, Vec b, Vec c) { return times_plus(all(a), b, c); }
inline Vec minus_times(float a, Vec b, Vec c) { return minus_times(all(a), b, c); }
inline Vec times(float a, Vec b) { return times_plus(all(a), b, all(0)); }

// The paper's B^T: 6 -> 6.
inline void transform_input(const Vec* d, int stride, Vec* out, int out_stride) {
  const Vec d0 = d[0], d1 = d[stride], d2 = d[2 * stride], d3 = d[3 * stride], d4 = d[4 * stride],
            d5 = d[5 * stride];
  const Vec a = minus_times(4, d2, d4), b = minus_times(4, d1, d3), c = sub(d4, d2), e = sub(d3, d1);
  out[0] = times_plus(4, d0, minus_times(5, d2, d4));
  out[out_stride] = add(a, b);
  out[2 * out_stride] = sub(a, b);
  out[3 * out_stride] = times_plus(2, e, c);
  out[4 * out_stride] = minus_times(2, e, c);
  out[5 * out_stride] = times_plus(4, d1, minus_times(5, d3, d5));
}

// The paper's A^T: 6 -> 4.
inline void transform_output(const Vec* m, int stride, Vec* out, int out_stride) {
  const Vec p = add(m[stride], m[2 * stride]), q = sub(m[stride], m[2 * stride]);
  const Vec r = add(m[3 * stride], m[4 * stride]), t = sub(m[3 * stride], m[4 * stride]);
  out[0] = add(m[0], add(p, r));
  out[out_stride] = times_plus(2, t, q);
  out[2 * out_stride] = times_plus(4, r, p);
  out[3 * out_stride] = add(m[5 * stride], times_plus(8, t, q));
}

// Its transpose A: 4 -> 6, for the gradient of the weights.
inline void transform_gradient(const Vec* g, int stride, Vec* out, int out_stride) {
  const Vec g0 = g[0], g1 = g[stride], g2 = g[2 * stride], g3 = g[3 * stride];
  const Vec even = add(g0, g2), odd = add(g1, g3);
  const Vec even2 = times_plus(4, g2, g0), odd2 = times_plus(8, g3, add(g1, g1));
  out[0] = g0;
  out[out_stride] = add(even, odd);
  out[2 * out_stride] = sub(even, odd);
  out[3 * out_stride] = add(even2, odd2);
  out[4 * out_stride] = sub(even2, odd2);
  out[5 * out_stride] = g3;
}

// The paper's G: 3 -> 6.
inline void transform_weights(const Vec* w, int stride, Vec* out, int out_stride) {
  const Vec w0 = w[0], w1 = w[stride], w2 = w[2 * stride];
  const Vec ends = add(w0, w2), far = times(1.0f / 24, times_plus(4, w2, w0)), middle = times(1.0f / 12, w1);
  out[0] = times(0.25f, w0);
  out[out_stride] = times(-1.0f / 6, add(ends, w1));
  out[2 * out_stride] = times(-1.0f / 6, sub(ends, w1));
  out[3 * out_stride] = add(far, middle);
  out[4 * out_stride] = sub(far, middle);
  out[5 * out_stride] = w2;
}

// Its transpose: 6 -> 3.
inline void transform_weights_back(const Vec* m, int stride, Vec* out, int out_stride) {
  const Vec p = add(m[stride], m[2 * stride]), q = sub(m[2 * stride], m[stride]);
  const Vec r = add(m[3 * stride], m[4 * stride]), t = sub(m[3 * stride], m[4 * stride]);
  out[0] = times_plus(0.25f, m[0], times_plus(1.0f / 24, r, times(-1.0f / 6, p)));
  out[out_stride] = times_plus(1.0f / 12, t, times(1.0f / 6, q));
  out[2 * out_stride] = times_plus(1.0f / 6, sub(r, p), m[5 * stride]);
}

struct Maps {
  int64_t n, height, width, channels;
  int64_t rows() const { return (height + 3) / 4; }
  int64_t columns() const { return (width + 3) / 4; }
  int64_t tiles() const { return n * rows() * columns(); }
  int64_t groups() const { return channels / kChannels; }
  // Where a tile's output begins.
  void place(int64_t tile, int64_t& image, int64_t& y, int64_t& x) const {
    image = tile / (rows() * columns());
    const int64_t within = tile % (rows() * columns());
    y = within / columns() * 4;
    x = within % columns() * 4;
  }
  template <typename Number>
  Number* pixel(Number* data, int64_t image, int64_t y, int64_t x) const {
    if (y < 0 || y >= height || x < 0 || x >= width) return nullptr;
    return data + ((image * height + y) * width + x) * channels;
  }
};

template <typename Number>
inline Vec load(const Number* pixel, int64_t channel) {
  return pixel ? load(pixel + channel) : all(0);
}

// Tiles of kSide x kSide pixels, which begin `border` pixels before their place -> [C / 64][36][count][64].
template <int kSide, void (*kTransform)(const Vec*, int, Vec*, int), typename Number>
void transform_tiles(const Number* data, const Maps& maps, int64_t first, int count, int border, float* out) {
  for (int t = 0; t < count; t++) {
    int64_t image, y, x;
    maps.place(first + t, image, y, x);
    const Number* pixels[kSide * kSide];
    for (int i = 0; i < kSide; i++)
      for (int j = 0; j < kSide; j++)
        pixels[i * kSide + j] = maps.pixel(data, image, y - border + i, x - border + j);
    for (int64_t c = 0; c < maps.channels; c += kWide) {
      Vec d[kSide * kSide], half[6 * kSide], whole[36];
      for (int k = 0; k < kSide * kSide; k++) d[k] = load(pixels[k], c);
      for (int j = 0; j < kSide; j++) kTransform(d + j, kSide, half + j, kSide);
      for (int i = 0; i < 6; i++) kTransform(half + i * kSide, 1, whole + i * 6, 1);
      float* to = out + ((c / kChannels) * kPlaces * count + t) * kChannels + c % kChannels;
      for (int k = 0; k < 36; k++) store(to + int64_t(k) * count * kChannels, whole[k]);
    }
  }
}

template <typename Number>
void input_tiles(const Number* data, const Maps& maps, int64_t first, int count, float* out) {
  transform_tiles<6, transform_input>(data, maps, first, count, 1, out);
}

template <typename Number>
void gradient_tiles(const Number* data, const Maps& maps, int64_t first, int count, float* out) {
  transform_tiles<4, transform_gradient>(data, maps, first, count, 0, out);
}

// [36][count][64] -> 64 channels of the output, from `channel` on.
template <typename Number>
void output_tiles(const float* products, const Maps& maps, int64_t first, int count, const float* bias,
                  int64_t channel, Number* data) {
  for (int t = 0; t < count; t++) {
    int64_t image, y, x;
    maps.place(first + t, image, y, x);
    for (int c = 0; c < kChannels; c += kWide) {
      Vec m[36], half[24], whole[16];
      const float* from = products + int64_t(t) * kChannels + c;
      for (int k = 0; k < 36; k++) m[k] = load(from + int64_t(k) * count * kChannels);
      for (int j = 0; j < 6; j++) transform_output(m + j, 6, half + j, 6);
      for (int i = 0; i < 4; i++) transform_output(half + i * 6, 1, whole + i * 4, 1);
      const Vec offset = load(bias ? bias + channel : nullptr, c);
      for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
          Number* to = maps.pixel(data, image, y + i, x + j);
          if (to) store(to + channel + c, add(whole[i * 4 + j], offset));
        }
    }
  }
}

// Up to six rows of out (+)= a b, all rows 64 long; the sums of a part of each row stay in registers. Each call
// sums from zero and adds to `out` at its end: short sums of short sums round less than one long sum.
template <int kRows>
void some_rows(const float* a, const float* b, float* out, bool more) {
  for (int j = 0; j < kChannels; j += kSums * kWide) {
    Vec sum[kRows][kSums], row[kSums];
    for (int r = 0; r < kRows; r++)
      for (int q = 0; q < kSums; q++) sum[r][q] = all(0);
    for (int k = 0; k < kChannels; k++) {
      for (int q = 0; q < kSums; q++) row[q] = load(b + k * kChannels + j + q * kWide);
      for (int r = 0; r < kRows; r++) {
        const Vec one = all(a[r * kChannels + k]);
        for (int q = 0; q < kSums; q++) sum[r][q] = times_plus(one, row[q], sum[r][q]);
      }
    }
    for (int r = 0; r < kRows; r++)
      for (int q = 0; q < kSums; q++) {
        float* to = out + r * kChannels + j + q * kWide;
        store(to, more ? add(load(to), sum[r][q]) : sum[r][q]);
      }
  }
}

// out (+)= a b: (count, 64) = (count, 64) (64, 64).
void product(const float* a, const float* b, float* out, int count, bool more) {
  int t = 0;
  for (; t + 6 <= count; t += 6) some_rows<6>(a + t * kChannels, b, out + t * kChannels, more);
  for (; t < count; t++) some_rows<1>(a + t * kChannels, b, out + t * kChannels, more);
}

// out += a^T b: (64, 64) += (count, 64)^T (count, 64); the sums of a part of four rows stay in registers.
void product_over_tiles(const float* a, const float* b, float* out, int count) {
  for (int i = 0; i < kChannels; i += 4)
    for (int j = 0; j < kChannels; j += kSums * kWide) {
      Vec sum[4][kSums], row[kSums];
      for (int r = 0; r < 4; r++)
        for (int q = 0; q < kSums; q++) sum[r][q] = all(0);
      for (int t = 0; t < count; t++) {
        for (int q = 0; q < kSums; q++) row[q] = load(b + t * kChannels + j + q * kWide);
        for (int r = 0; r < 4; r++) {
          const Vec one = all(a[t * kChannels + i + r]);
          for (int q = 0; q < kSums; q++) sum[r][q] = times_plus(one, row[q], sum[r][q]);
        }
      }
      for (int r = 0; r < 4; r++)
        for (int q = 0; q < kSums; q++) {
          float* to = out + (i + r) * kChannels + j + q * kWide;
          store(to, add(load(to), sum[r][q]));
        }
    }
}

// out += the sum of (count, 64) over its rows.
void add_rows(const float* rows, int count, float* out) {
  for (int c = 0; c < kChannels; c += kWide) {
    Vec sum = all(0);
    for (int t = 0; t < count; t++) sum = add(sum, load(rows + t * kChannels + c));
    store(out + c, add(load(out + c), sum));
  }
}

// Weights (K, C, 3, 3) in any order of memory; the numbers are strides.
template <typename Float>
struct Weights {
  Float* data;
  int64_t k, c, y, x;
  Float& at(int64_t to, int64_t from, int tap) const {
    return data[to * k + from * c + tap / 3 * y + tap % 3 * x];
  }
};

// A thread's own buffer, aligned for vectors and kept from call to call.
float* buffer(int which, size_t floats) {
  static thread_local std::vector<float> buffers[2];
  auto& one = buffers[which];
  if (one.size() < floats + kWide) one.resize(floats + kWide);
  const uintptr_t at = reinterpret_cast<uintptr_t>(one.data()) + sizeof(Vec) - 1;
  return reinterpret_cast<float*>(at & ~uintptr_t(sizeof(Vec) - 1));
}

// x (N, H, W, C), packed weights, bias (K) or null -> y (N, H, W, K); all contiguous.
template <typename Number>
void convolve(const Number* x, const float* packed, const float* bias, Number* y, int64_t n, int64_t height,
              int64_t width, int64_t c, int64_t k, int threads) {
  const Maps in{n, height, width, c}, out{n, height, width, k};
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t block = 0; block < (in.tiles() + kBlock - 1) / kBlock; block++) {
    float* tiles = buffer(0, in.groups() * kPlaces * kBlock * kChannels);
    float* products = buffer(1, kPlaces * kBlock * kChannels);
    const int64_t first = block * kBlock;
    const int count = std::min<int64_t>(kBlock, in.tiles() - first);
    input_tiles(x, in, first, count, tiles);
    for (int64_t to = 0; to < out.groups(); to++) {
      for (int p = 0; p < kPlaces; p++)
        for (int64_t from = 0; from < in.groups(); from++)
          product(tiles + (from * kPlaces + p) * count * kChannels,
                  packed + ((to * in.groups() + from) * kPlaces + p) * kChannels * kChannels,
                  products + int64_t(p) * count * kChannels, count, from > 0);
      output_tiles(products, out, first, count, bias, to * kChannels, y);
    }
  }
}

// x (N, H, W, C) and the gradient of y (N, H, W, K) -> those of the packed weights and of the bias in `threads`
// parts, whose sums they are. Each thread always sums the same blocks, so the sum is the same each time.
template <typename Number>
void weight_gradient(const Number* x, const Number* of_y, float* parts, float* bias_parts, int64_t n,
                     int64_t height, int64_t width, int64_t c, int64_t k, int threads) {
  const Maps in{n, height, width, c}, out{n, height, width, k};
  const int64_t size = in.groups() * out.groups() * kPlaces * kChannels * kChannels;
  // The sums are read and written once for each block, so blocks are larger than the forward pass's.
  const int64_t block_size = in.groups() * out.groups() > 1 ? 72 : 144;
  const int64_t blocks = (in.tiles() + block_size - 1) / block_size;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int part = 0; part < threads; part++) {
    float* tiles = buffer(0, in.groups() * kPlaces * block_size * kChannels);
    float* gradients = buffer(1, out.groups() * kPlaces * block_size * kChannels);
    float* mine = parts + part * size;
    float* bias = bias_parts + part * k;
    std::fill(mine, mine + size, 0.0f);
    std::fill(bias, bias + k, 0.0f);
    for (int64_t block = blocks * part / threads; block < blocks * (part + 1) / threads; block++) {
      const int64_t first = block * block_size;
      const int count = std::min<int64_t>(block_size, in.tiles() - first);
      input_tiles(x, in, first, count, tiles);
      gradient_tiles(of_y, out, first, count, gradients);
      for (int64_t to = 0; to < out.groups(); to++)
        add_rows(gradients + (to * kPlaces + kSum) * count * kChannels, count, bias + to * kChannels);
      for (int64_t to = 0; to < out.groups(); to++)
        for (int64_t from = 0; from < in.groups(); from++)
          for (int p = 0; p < kPlaces; p++)
            product_over_tiles(tiles + (from * kPlaces + p) * count * kChannels,
                               gradients + (to * kPlaces + p) * count * kChannels,
                               mine + ((to * in.groups() + from) * kPlaces + p) * kChannels * kChannels, count);
    }
  }
}

}  // namespace

extern "C" void srcx_convolve(const float* x, const float* packed, const float* bias, float* y, int64_t n,
                              int64_t height, int64_t width, int64_t c, int64_t k, int threads) {
  convolve(x, packed, bias, y, n, height, width, c, k, threads);
}

extern "C" void srcx_convolve_bf16(const Bf16* x, const float* packed, const float* bias, Bf16* y, int64_t n,
                                   int64_t height, int64_t width, int64_t c, int64_t k, int threads) {
  convolve(x, packed, bias, y, n, height, width, c, k, threads);
}

extern "C" void srcx_weight_gradient(const float* x, const float* of_y, float* parts, float* bias_parts,
                                     int64_t n, int64_t height, int64_t width, int64_t c, int64_t k,
                                     int threads) {
  weight_gradient(x, of_y, parts, bias_parts, n, height, width, c, k, threads);
}

extern "C" void srcx_weight_gradient_bf16(const Bf16* x, const Bf16* of_y, float* parts, float* bias_parts,
                                          int64_t n, int64_t height, int64_t width, int64_t c, int64_t k,
                                          int threads) {
  weight_gradient(x, of_y, parts, bias_parts, n, height, width, c, k, threads);
}

// Weights, with their strides -> packed weights.
extern "C" void srcx_pack(const float* weight, int64_t stride_k, int64_t stride_c, int64_t stride_y,
                          int64_t stride_x, float* packed, int64_t c, int64_t k, int threads) {
  const Weights<const float> weights{weight, stride_k, stride_c, stride_y, stride_x};
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t from = 0; from < c; from++)
    for (int64_t to = 0; to < k; to += kWide) {
      alignas(sizeof(Vec)) float lanes[9][kWide];
      for (int tap = 0; tap < 9; tap++)
        for (int lane = 0; lane < kWide; lane++) lanes[tap][lane] = weights.at(to + lane, from, tap);
      Vec taps[9], half[18], whole[36];
      for (int tap = 0; tap < 9; tap++) taps[tap] = load(lanes[tap]);
      for (int j = 0; j < 3; j++) transform_weights(taps + j, 3, half + j, 3);
      for (int i = 0; i < 6; i++) transform_weights(half + i * 3, 1, whole + i * 6, 1);
      const int64_t group = to / kChannels * (c / kChannels) + from / kChannels;
      float* row = packed + (group * kPlaces * kChannels + from % kChannels) * kChannels + to % kChannels;
      for (int p = 0; p < kPlaces; p++) store(row + int64_t(p) * kChannels * kChannels, whole[p]);
    }
}

// The sum of `threads` parts of a gradient of packed weights -> that of the weights, with these strides.
extern "C" void srcx_unpack(const float* parts, float* gradient, int64_t stride_k, int64_t stride_c,
                            int64_t stride_y, int64_t stride_x, int64_t c, int64_t k, int threads) {
  const Weights<float> weights{gradient, stride_k, stride_c, stride_y, stride_x};
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t from = 0; from < c; from++)
    for (int64_t to = 0; to < k; to += kWide) {
      const int64_t group = to / kChannels * (c / kChannels) + from / kChannels;
      const float* row = parts + (group * kPlaces * kChannels + from % kChannels) * kChannels + to % kChannels;
      Vec places[36], half[18], taps[9];
      for (int p = 0; p < kPlaces; p++) {
        places[p] = load(row + int64_t(p) * kChannels * kChannels);
        for (int part = 1; part < threads; part++)
          places[p] = add(places[p], load(row + part * c * k * kPlaces + int64_t(p) * kChannels * kChannels));
      }
      for (int j = 0; j < 6; j++) transform_weights_back(places + j, 6, half + j, 6);
      for (int i = 0; i < 3; i++) transform_weights_back(half + i * 6, 1, taps + i * 3, 1);
      for (int tap = 0; tap < 9; tap++) {
        alignas(sizeof(Vec)) float lanes[kWide];
        store(lanes, taps[tap]);
        for (int lane = 0; lane < kWide; lane++) weights.at(to + lane, from, tap) = lanes[lane];
      }
    }
}
