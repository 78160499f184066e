// What all dense convolutions share: where an output pixel's taps lie in the input, and what happens to a sum before it is stored.
#pragma once
#include "types.cuh"

// Sizes of a convolution of kernel 1 or 3, stride 1 or 2 and zero padding kernel / 2 over NHWC maps.
struct ConvShape
{
    i32 height, width, inputs, x_stride;
    i32 out_height, out_width, outputs;
    // Of all images together.
    i32 pixels;
    i32 kernel, stride;
};

// Where an output pixel reads.
struct Window
{
    // Elements from x to the pixel of its first tap, which may lie outside the map.
    i64 corner;
    // Bit ky * 3 + kx: the tap lies inside the map. (Bit 0 for the only tap of a 1x1 kernel.)
    u32 taps;
};

__device__ inline Window window_of(const ConvShape &s, i32 pixel)
{
    Window w = {};
    if (pixel >= s.pixels) return w;
    i32 line = pixel / s.out_width, column = pixel % s.out_width;
    i32 image = line / s.out_height, row = line % s.out_height;
    i32 y = row * s.stride - s.kernel / 2, x = column * s.stride - s.kernel / 2;
    w.corner = ((i64(image) * s.height + y) * s.width + x) * s.x_stride;
    // The middle tap is inside always; rows stand at bits 0, 3, 6, so the product with the columns has no carry.
    u32 rows = (y >= 0 ? 1u : 0u) | 8u | (y + 2 < s.height ? 64u : 0u);
    u32 columns = (x >= 0 ? 1u : 0u) | 2u | (x + 2 < s.width ? 4u : 0u);
    w.taps = s.kernel == 1 ? 1u : rows * columns;
    return w;
}

// The gradient of a convolution of stride 2 by its input: pixel q of y, the gradient, sums over the taps for which (q + kernel / 2 - tap) / 2 is a
// whole pixel of x, the output's gradient. That depends on whether q's row and column are even, so pixels are counted by that: first, of all
// images, those of even rows and even columns, then even and odd, odd and even, odd and odd. Neighbours then have the same taps.
struct ParityPlace
{
    // 2 for an odd row, 1 for an odd column.
    i32 parity, image, row, column;
};

__device__ inline ParityPlace parity_place_of(const ConvShape &s, i32 index)
{
    i32 images = s.pixels / (s.out_height * s.out_width);
    ParityPlace place = {};
    i32 rows, columns;
    for (;; place.parity++)
    {
        rows = (s.out_height + 1 - place.parity / 2) / 2, columns = (s.out_width + 1 - place.parity % 2) / 2;
        if (place.parity == 3 || index < images * rows * columns) break;
        index -= images * rows * columns;
    }
    i32 line = index / columns;
    place.image = line / rows;
    place.row = line % rows * 2 + place.parity / 2, place.column = index % columns * 2 + place.parity % 2;
    return place;
}

// The taps of such pixels but for the map's edge, as in Window.
__device__ inline u32 taps_of_parity(const ConvShape &s, i32 parity)
{
    if (s.kernel == 1) return parity == 0 ? 1u : 0u;
    return (parity & 2 ? 1u | 64u : 8u) * (parity & 1 ? 1u | 4u : 2u);
}

// Where such a pixel reads: tap (ky, kx) at corner - ((ky / 2) * width + kx / 2) pixels.
__device__ inline Window transposed_window_of(const ConvShape &s, i32 index)
{
    Window w = {};
    if (index >= s.pixels) return w;
    ParityPlace place = parity_place_of(s, index);
    i32 row = (place.row + s.kernel / 2) / 2, column = (place.column + s.kernel / 2) / 2;
    w.corner = ((i64(place.image) * s.height + row) * s.width + column) * s.x_stride;
    w.taps = taps_of_parity(s, place.parity);
    // Of an odd row the first taps lie behind the last row of x where the map's number of rows is even; of columns the same.
    if (row >= s.height) w.taps &= ~7u;
    if (column >= s.width) w.taps &= ~(1u | 8u | 64u);
    return w;
}

enum Relu : i32
{
    NO_RELU,
    // On the convolution itself, before the residual is added.
    RELU_FIRST,
    // On the sum with the residual.
    RELU_LAST,
};

// y = [relu](residual + [relu](sum + bias)). The residual may be y itself: each element is read and written by one thread.
template <class T>
struct Epilogue
{
    // null, [outputs], or with border_cases [16][outputs].
    const f32 *bias;
    // null for none.
    const T *residual;
    T *y;
    i32 residual_stride, y_stride;
    Relu relu;
    i32 border_cases;
    // Every pixel of y and residual, and bias, can be accessed 16 bytes at a time.
    i32 is_vector;
    // y's pixels are not whole vectors but follow each other without a gap, from 16 bytes on, and nothing is to be added but a bias [outputs]:
    // eight pixels are whole vectors then (store_run).
    i32 is_packed;
};

// {inner, top, bottom, both} of an axis.
__device__ inline i32 border_case(i32 index, i32 extent)
{
    return (index == 0 ? 1 : 0) | (index == extent - 1 ? 2 : 0);
}

template <class T>
__device__ inline i32 bias_row(const Epilogue<T> &e, const ConvShape &s, i32 pixel)
{
    if (!e.border_cases) return 0;
    i32 line = pixel / s.out_width;
    return border_case(line % s.out_height, s.out_height) * 4 + border_case(pixel % s.out_width, s.out_width);
}

// A NaN stays one.
__device__ inline f32 rectified(f32 value)
{
#if __CUDA_ARCH__ >= 800
    f32 result;
    asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(result) : "f"(value));
    return result;
#else
    return value < 0 ? 0 : value;
#endif
}

// Adds N neighbouring elements, or the first `count` of them one by one: plain loads, for what is read may be y.
template <class T, int N>
__device__ inline void add_residual(const T *from, bool is_vector, i32 count, f32 (&values)[N])
{
    if (is_vector)
    {
        u32 words[words_of<T, N>];
#pragma unroll
        for (int i = 0; i < words_of<T, N>; i += 4)
        {
            uint4 v = *(const uint4 *)((const u32 *)from + i);
            words[i] = v.x, words[i + 1] = v.y, words[i + 2] = v.z, words[i + 3] = v.w;
        }
        f32 residual[N];
        widen<T, N>(words, residual);
#pragma unroll
        for (int i = 0; i < N; i++) values[i] += residual[i];
        return;
    }
#pragma unroll
    for (int i = 0; i < N; i++)
    {
        if (i < count) values[i] += to_float(from[i]);
    }
}

template <int N>
__device__ inline void add_bias(const f32 *from, bool is_vector, i32 count, f32 (&values)[N])
{
    f32 bias[N] = {};
    if (is_vector)
    {
        load(from, bias);
    }
    else
    {
#pragma unroll
        for (int i = 0; i < N; i++)
        {
            if (i < count) bias[i] = load_one(from + i);
        }
    }
#pragma unroll
    for (int i = 0; i < N; i++) values[i] += bias[i];
}

// Ends N neighbouring channels of a pixel, of which those at or beyond s.outputs do not exist: in whole vectors of 16 bytes, or, where pixels are
// not such, one by one.
template <class T, int N>
__device__ inline void finish(const Epilogue<T> &e, const ConvShape &s, i32 pixel, i32 channel, bool is_vector, f32 (&values)[N])
{
    i32 count = s.outputs - channel;
    if (count <= 0) return;
    if (e.bias) add_bias(e.bias + bias_row(e, s, pixel) * s.outputs + channel, is_vector, count, values);
    if (e.relu == RELU_FIRST)
    {
#pragma unroll
        for (int i = 0; i < N; i++) values[i] = rectified(values[i]);
    }
    if (e.residual) add_residual(e.residual + i64(pixel) * e.residual_stride + channel, is_vector, count, values);
    if (e.relu == RELU_LAST)
    {
#pragma unroll
        for (int i = 0; i < N; i++) values[i] = rectified(values[i]);
    }
    T *to = e.y + i64(pixel) * e.y_stride + channel;
    if (is_vector)
    {
        store(to, values);
        return;
    }
#pragma unroll
    for (int i = 0; i < N; i++)
    {
        if (i < count) to[i] = from_float<T>(values[i]);
    }
}

// Narrows sums of packed pixels, which lie in shared memory pixel by pixel, to a run without gaps in shared memory, and adds the bias. A warp
// takes a pixel at a time, `step` apart from `first` on, because two pixels' channels would meet in their banks.
template <class T>
__device__ inline void pack_run(const Epilogue<T> &e, i32 outputs, const f32 *sums, i32 pitch, i32 pixels, T *run, i32 first, i32 step)
{
    for (i32 channel = threadIdx.x % 32; channel < outputs; channel += 32)
    {
        f32 bias = e.bias ? load_one(e.bias + channel) : 0;
        for (i32 pixel = first; pixel < pixels; pixel += step) run[pixel * outputs + channel] = from_float<T>(sums[pixel * pitch + channel] + bias);
    }
}

// Stores such a run in whole vectors, but for its end; threads take turns, `step` of them from `first` on. The place of first_pixel in y is on
// 16 bytes.
template <class T>
__device__ inline void store_run(const Epilogue<T> &e, i32 outputs, i64 first_pixel, i32 pixels, const T *run, i32 first, i32 step)
{
    constexpr i32 VECTOR = 16 / sizeof(T);
    T *to = e.y + first_pixel * outputs;
    i32 elements = pixels * outputs, whole = elements / VECTOR;
    for (i32 i = first; i < whole; i += step) ((uint4 *)to)[i] = ((const uint4 *)run)[i];
    for (i32 i = whole * VECTOR + first; i < elements; i += step) to[i] = run[i];
}
