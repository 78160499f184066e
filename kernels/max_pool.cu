// 3x3 maximum of stride 2 and padding 1, into a channel slice:
//
//   y[n, r, k, c] = max over the pixels of x[n, 2r-1..2r+1, 2k-1..2k+1, c] that lie inside the map
//
// x (n, H, W, c) and y (n, ceil(H/2), ceil(W/2), c) are NHWC channel slices. Padding never wins; a NaN in the window does. Exact.
//
// Defines   ELEMENT  f32, f16 or bf16
//           WIDTH    channels a thread moves at once: 16 bytes' worth where slices and channels allow, else 1
// Launch    block (lanes over channels, columns of y), grid (column blocks, ROWS-row bands, n)
// Shared    none
//
// A thread makes WIDTH channels of one column in ROWS = 4 rows of y from 9 rows of x: an odd row of x, which two rows of y share, is loaded
// once. The column that neighbouring threads share comes from L1; staging it in shared memory would move every byte once more to save a third
// of the L1 reads of a kernel that memory bounds. 16-bit values are compared in pairs from sm_80 on, and as floats before.
//
// Bytes: x once plus an eighth for the row above a band, y once. Flops: none; 6.75 comparisons an output element.
#include "overlap.cuh"
#include "types.cuh"

constexpr int ROWS = 4, BYTES = WIDTH * int(sizeof(ELEMENT)), WORDS = words_of<ELEMENT, WIDTH>;

struct Arguments
{
    const ELEMENT *x;
    ELEMENT *y;
    i32 x_stride, y_stride;
    i32 height, width, channels;
};

__device__ inline f32 larger(f32 a, f32 b)
{
    return b > a || b != b ? b : a;
}

// The larger of the one or two values in a word.
__device__ inline u32 larger_of(u32 a, u32 b, f32)
{
#if __CUDA_ARCH__ >= 800
    f32 result;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(__uint_as_float(a)), "f"(__uint_as_float(b)));
    return __float_as_uint(result);
#else
    return __float_as_uint(larger(__uint_as_float(a), __uint_as_float(b)));
#endif
}

__device__ inline u32 larger_of(u32 a, u32 b, f16)
{
#if __CUDA_ARCH__ >= 800
    u32 result;
    asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
    return result;
#else
    f32 first, second, other_first, other_second;
    widen_pair<f16>(a, first, second);
    widen_pair<f16>(b, other_first, other_second);
    return narrow_pair<f16>(larger(first, other_first), larger(second, other_second));
#endif
}

#if __CUDA_ARCH__ >= 800
__device__ inline u32 larger_of(u32 a, u32 b, bf16)
{
    u32 result;
    asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
    return result;
}
#endif

__device__ inline void join(u32 (&maximum)[WORDS], const u32 (&words)[WORDS])
{
#pragma unroll
    for (int i = 0; i < WORDS; i++) maximum[i] = larger_of(maximum[i], words[i], ELEMENT{});
}

// The maximum of the window's pixels in one row of x. A column outside the map is replaced by the window's middle, which changes nothing
// and leaves the loads without a branch.
__device__ inline void row_maximum(const ELEMENT *row, i32 column, i32 width, i32 stride, u32 (&maximum)[WORDS])
{
    u32 left[WORDS], right[WORDS];
    load_words<BYTES>(row + i64(2 * column) * stride, maximum);
    load_words<BYTES>(row + i64(max(2 * column - 1, 0)) * stride, left);
    load_words<BYTES>(row + i64(min(2 * column + 1, width - 1)) * stride, right);
    join(maximum, left);
    join(maximum, right);
}

extern "C" __global__ void __launch_bounds__(256) max_pool(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    i32 outputs_down = (a.height + 1) / 2, outputs_across = (a.width + 1) / 2;
    i32 column = i32(blockIdx.x * blockDim.y + threadIdx.y), first = i32(blockIdx.y) * ROWS;
    if (column >= outputs_across) return;
    const ELEMENT *source = a.x + i64(blockIdx.z) * a.height * a.width * a.x_stride;
    ELEMENT *target = a.y + (i64(blockIdx.z) * outputs_down * outputs_across + column) * a.y_stride;
    i64 row_stride = i64(a.width) * a.x_stride;

    for (i32 c = i32(threadIdx.x) * WIDTH; c < a.channels; c += i32(blockDim.x) * WIDTH)
    {
        // Rows outside the map repeat one inside the window, as columns do.
        u32 above[WORDS], maximum[WORDS], below[WORDS];
        row_maximum(source + max(2 * first - 1, 0) * row_stride + c, column, a.width, a.x_stride, above);
#pragma unroll
        for (int r = 0; r < ROWS; r++)
        {
            i32 row = first + r;
            row_maximum(source + min(2 * row, a.height - 1) * row_stride + c, column, a.width, a.x_stride, maximum);
            row_maximum(source + min(2 * row + 1, a.height - 1) * row_stride + c, column, a.width, a.x_stride, below);
            join(maximum, above);
            join(maximum, below);
#pragma unroll
            for (int i = 0; i < WORDS; i++) above[i] = below[i];
            if (row < outputs_down) store_words<BYTES>(target + i64(row) * outputs_across * a.y_stride + c, maximum);
        }
    }
}
