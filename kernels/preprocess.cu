// An 8-bit interleaved image of any size to the network's input:
//
//   y[r, k, c] = bilinear(image[:, :, order(c)]; r, k) * scale[c] + shift[c],   c = 0, 1, 2 (red, green, blue);   y[r, k, 3..] = 0
//
// Rows are mixed first, then columns, each step in fp32 with one rounding, as on the CPU: both give the same bits. Where the sizes are
// equal all weights are zero and the pixels pass unchanged. image has 3 or 4 bytes a pixel and any number of bytes from row to row.
//
// Defines   ELEMENT   f32, f16 or bf16
//           CHANNELS  of y: 3, or 4 or 8 of which the rest are zeros, so that a pixel is one aligned vector to the convolution behind
//           STORES    0: element by element;   1: a pixel at once (CHANNELS 4 or 8, y on 16 bytes, a pixel stride of whole vectors);
//                     2: through shared memory (CHANNELS 3 without gaps, y on 16 bytes)
// Launch    grid over runs of neighbouring pixels, blocks of 256 threads; a thread makes one of them (with STORES 2 and
//           16-bit types two)
// Shared    STORES 2: 3 KiB
//
// Three 16-bit channels are 6 bytes a pixel, so a warp that stored its own pixels would touch every sector three times. With STORES 2 a thread
// packs two pixels into three words (an odd stride: no bank conflicts) and the block stores the run in 16-byte vectors. The four source
// pixels of an output pixel are read directly: bytes of neighbouring pixels come from L1, and at these sizes (an image is 1.5 to 6 MiB)
// nothing else limits.
//
// Bytes: the image once (where it is not made smaller than by half), y once. Flops: 12 a channel.
#include "bilinear.cuh"
#include "overlap.cuh"

constexpr int THREADS = 256;

struct Arguments
{
    const u8 *image;
    ELEMENT *y;
    i64 row_bytes;
    i32 image_height, image_width, pixel_bytes, swap;
    i32 height, width, y_stride;
    // 1 where pixels of 4 bytes lie on multiples of 4.
    i32 whole_pixels;
    f32 row_scale, column_scale;
    f32 scale[3], shift[3];
};

__device__ inline f32 load_byte(const u8 *from)
{
    u32 value;
    LOAD_ASM("ld.global" READ_ONLY ".u8 %0, [%1];" : "=r"(value) : "l"(from));
    return f32(value);
}

__device__ inline void load_pixel(const Arguments &a, const u8 *row, i32 column, f32 (&values)[3])
{
    const u8 *from = row + i64(column) * a.pixel_bytes;
    if (a.whole_pixels)
    {
        u32 words[1];
        load_words<4>(from, words);
#pragma unroll
        for (int c = 0; c < 3; c++) values[c] = f32(words[0] >> 8 * c & 255);
        return;
    }
#pragma unroll
    for (int c = 0; c < 3; c++) values[c] = load_byte(from + c);
}

// Channels of y's pixel `index`, counted over rows.
__device__ inline void make_pixel(const Arguments &a, i32 index, f32 *values)
{
    BilinearTap row = bilinear_tap(index / a.width, a.image_height, a.row_scale);
    BilinearTap column = bilinear_tap(index % a.width, a.image_width, a.column_scale);
    const u8 *low = a.image + row.low * a.row_bytes, *high = a.image + row.high * a.row_bytes;
    f32 low_left[3], low_right[3], high_left[3], high_right[3], mixed[3];
    load_pixel(a, low, column.low, low_left);
    load_pixel(a, low, column.high, low_right);
    load_pixel(a, high, column.low, high_left);
    load_pixel(a, high, column.high, high_right);
#pragma unroll
    for (int c = 0; c < 3; c++)
        mixed[c] = mix(mix(low_left[c], high_left[c], row.weight), mix(low_right[c], high_right[c], row.weight), column.weight);
    values[0] = __fmaf_rn(a.swap ? mixed[2] : mixed[0], a.scale[0], a.shift[0]);
    values[1] = __fmaf_rn(mixed[1], a.scale[1], a.shift[1]);
    values[2] = __fmaf_rn(a.swap ? mixed[0] : mixed[2], a.scale[2], a.shift[2]);
}

#if STORES == 2
extern "C" __global__ void __launch_bounds__(THREADS) preprocess(KERNEL_ARGUMENTS(Arguments) a)
{
    constexpr int PIXELS = 4 / int(sizeof(ELEMENT)), RUN = THREADS * PIXELS, VECTOR = 16 / int(sizeof(ELEMENT));
    __shared__ uint4 staged[RUN * 3 / VECTOR];
    begin_next();
    await_previous();
    i32 first = i32(blockIdx.x) * RUN, run = min(RUN, a.height * a.width - first);
    f32 values[PIXELS * 3] = {};
#pragma unroll
    for (int p = 0; p < PIXELS; p++)
    {
        i32 pixel = i32(threadIdx.x) * PIXELS + p;
        if (pixel < run) make_pixel(a, first + pixel, values + 3 * p);
    }
    u32 words[3];
    narrow<ELEMENT, PIXELS * 3>(values, words);
#pragma unroll
    for (int i = 0; i < 3; i++) ((u32 *)staged)[threadIdx.x * 3 + i] = words[i];
    __syncthreads();

    ELEMENT *to = a.y + i64(first) * 3;
    i32 elements = run * 3, vectors = elements / VECTOR;
    for (i32 i = threadIdx.x; i < vectors; i += THREADS) ((uint4 *)to)[i] = staged[i];
    for (i32 i = vectors * VECTOR + threadIdx.x; i < elements; i += THREADS) to[i] = ((const ELEMENT *)staged)[i];
}
#else
extern "C" __global__ void __launch_bounds__(THREADS) preprocess(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    i32 index = i32(blockIdx.x) * THREADS + i32(threadIdx.x);
    if (index >= a.height * a.width) return;
    f32 values[CHANNELS] = {};
    make_pixel(a, index, values);
    ELEMENT *to = a.y + i64(index) * a.y_stride;
#if STORES == 1
    store(to, values);
#else
#pragma unroll
    for (int c = 0; c < CHANNELS; c++) store_one(to + c, values[c]);
#endif
}
#endif
