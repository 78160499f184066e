// What the two kernels for the image's convolutions share: arguments, and the image's tile in shared memory.
#pragma once
#include "types.cuh"

template <class T>
struct FirstOutput
{
    T *y;
    i32 stride, relu;
};

template <class T>
struct FirstArguments
{
    const T *x;
    const T *weights;
    const f32 *bias;
    FirstOutput<T> outputs[2];
    i32 height, width, x_stride;
    i32 out_height, out_width, channels, first_channels;
    i32 tiles_across;
};

// Reads ROWS rows of VALUES values, three a pixel, of the image from a corner that may lie outside, where there are zeros; `store` puts the bits of
// a row's value in their place. A warp takes a row at a time.
template <int ROWS, int VALUES, int THREADS, class T, class Store>
__device__ inline void fill_image(const FirstArguments<T> &a, i32 first_row, i32 first_column, Store store)
{
    constexpr int ROUNDS = (VALUES + 31) / 32;
    i32 lane = threadIdx.x % 32;
    const T *image = a.x + i64(blockIdx.z) * a.height * a.width * a.x_stride;
    for (i32 row = threadIdx.x / 32; row < ROWS; row += THREADS / 32)
    {
        i32 y = first_row + row;
        const T *line = image + i64(y) * a.width * a.x_stride;
        // All of a row's loads are on their way before the first is stored.
        u32 values[ROUNDS][1];
#pragma unroll
        for (int r = 0; r < ROUNDS; r++)
        {
            i32 i = lane + r * 32, x = first_column + i / 3;
            values[r][0] = 0;
            if (y >= 0 && y < a.height && x >= 0 && x < a.width && i < VALUES) load_words<int(sizeof(T))>(line + i64(x) * a.x_stride + i % 3, values[r]);
        }
#pragma unroll
        for (int r = 0; r < ROUNDS; r++)
        {
            i32 i = lane + r * 32;
            if (i < VALUES) store(row, i, values[r][0]);
        }
    }
}
