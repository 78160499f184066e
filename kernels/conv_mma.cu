// Dense convolution, 1x1 or 3x3, stride 1 or 2, zero padding kernel/2, on tensor cores (f16 or bf16 products, fp32 sums), with the epilogue
// of conv_ffma.cu:
//
//   v[n, r, k, o] = bias[case(r, k), o] + sum over ky, kx, i of w[o, ky, kx, i] * x[n, r*s + ky - p, k*s + kx - p, i]
//   y = v,   max(v, 0),   v + residual,   max(v, 0) + residual   or   max(v + residual, 0)
//
// x, y and residual are NHWC channel slices of one type; weights are of that type too, [O][kernel*kernel*I]; bias is fp32 [O], null, or a table of
// 16 border cases. I and x's pixel stride are multiples of 8, x and weights lie on 16 bytes; O and y's and the residual's pixel strides are
// multiples of 4 and both lie on 8 bytes. y may be the residual, and otherwise overlaps nothing.
//
// Defines   ELEMENT   f16 or bf16
//           TILE_M, TILE_N  pixels and outputs of a block, multiples of 32
// Launch    grid (ceil(pixels of y / TILE_M), ceil(O / TILE_N)), blocks of 128 threads
// Shared    STAGES = 3 of (TILE_M + TILE_N) * 64 bytes: 18 to 36 KiB for tiles of 64 x 32 to 128 x 64
//
// An implicit GEMM: rows are pixels of y, columns outputs, the depth taps times input channels in the weights' own order, in steps of 32. Each step's
// two tiles are copied by cp.async, 16 bytes (8 channels of one tap, so never across taps) a thread; pixels outside the map are stored as zeros.
// Two steps are under way while one is multiplied. The four warps stand 2 x 2 and make TILE_M/2 x TILE_N/2 each.
//
// A row of a tile is 64 bytes, four chunks. Chunk c of a pixel's row r lies at c ^ (r/2 % 4), so that the eight rows that an ldmatrix phase
// reads cover all banks once. The tensor core's columns may be any outputs: a thread's two columns of two neighbouring blocks are made
// four neighbouring outputs, so that it stores 8 bytes and four threads fill a sector. Weights' rows are thus read two in four, and chunk
// c of row r lies at c ^ (r/4 % 4).
//
// Bytes: x ceil(O/TILE_N) times and weights once a block (from L2), y once. Flops: 2 * kernel^2 * I an output element.
#include "mma.cuh"

constexpr int THREADS = 128, STAGES = 3, DEPTH = 32, CHUNK = 8, CHUNKS = DEPTH / CHUNK;
constexpr int WARP_M = TILE_M / 2, WARP_N = TILE_N / 2, BLOCKS_M = WARP_M / 16, BLOCKS_N = WARP_N / 8;
constexpr int PIXEL_COPIES = TILE_M * CHUNKS / THREADS, WEIGHT_COPIES = TILE_N * CHUNKS / THREADS;

enum Relu : i32
{
    NONE,
    BEFORE_RESIDUAL,
    AFTER_RESIDUAL,
};

struct Arguments
{
    const ELEMENT *x;
    const ELEMENT *weights;
    const f32 *bias;
    const ELEMENT *residual;
    ELEMENT *y;
    i64 pixels;
    i32 x_stride, residual_stride, y_stride;
    i32 height, width, inputs;
    i32 out_height, out_width, outputs;
    i32 kernel, stride, border_bias;
    Relu relu;
    i32 padding;
};

struct Stage
{
    uint4 pixels[TILE_M * CHUNKS], weights[TILE_N * CHUNKS];
};

// Where in x the window of an output pixel starts; a pixel that does not exist has a window that lies outside.
struct Window
{
    const ELEMENT *image;
    i32 row, column;
};

__device__ inline Window window_of(const Arguments &a, i64 pixel)
{
    i32 pixels = a.out_height * a.out_width, in_image = i32(pixel % pixels);
    Window w;
    w.image = a.x + pixel / pixels * a.height * a.width * a.x_stride;
    w.row = pixel < a.pixels ? in_image / a.out_width * a.stride - a.kernel / 2 : -4;
    w.column = in_image % a.out_width * a.stride - a.kernel / 2;
    return w;
}

__device__ inline i32 pixel_place(i32 row, i32 chunk)
{
    return row * CHUNKS + (chunk ^ row / 2 % CHUNKS);
}

__device__ inline i32 weight_place(i32 row, i32 chunk)
{
    return row * CHUNKS + (chunk ^ row / 4 % CHUNKS);
}

__device__ inline void copy_or_clear(uint4 *to, const ELEMENT *from, bool is_there)
{
    if (is_there) copy16_to_shared(to, from);
    else *to = make_uint4(0, 0, 0, 0);
}

__device__ inline void begin_stage(const Arguments &a, const Window (&windows)[PIXEL_COPIES], i32 first_output, i32 depth, i32 depths, Stage &stage)
{
    // Four threads copy a row; all of a thread's rows take the same chunk.
    i32 chunk = i32(threadIdx.x) % CHUNKS, first_row = i32(threadIdx.x) / CHUNKS, at = depth + chunk * CHUNK;
    i32 tap = at / a.inputs, channel = at % a.inputs, tap_row = tap / a.kernel, tap_column = tap % a.kernel;
#pragma unroll
    for (int i = 0; i < PIXEL_COPIES; i++)
    {
        i32 row = windows[i].row + tap_row, column = windows[i].column + tap_column;
        bool is_there = at < depths && row >= 0 && row < a.height && column >= 0 && column < a.width;
        copy_or_clear(
            &stage.pixels[pixel_place(first_row + i * (THREADS / CHUNKS), chunk)],
            windows[i].image + i64(row * a.width + column) * a.x_stride + channel, is_there);
    }
#pragma unroll
    for (int i = 0; i < WEIGHT_COPIES; i++)
    {
        i32 row = first_row + i * (THREADS / CHUNKS), output = first_output + row;
        copy_or_clear(&stage.weights[weight_place(row, chunk)], a.weights + i64(output) * depths + at, output < a.outputs && at < depths);
    }
}

__device__ inline void multiply(const Stage &stage, i32 warp_row, i32 warp_column, f32 (&sums)[BLOCKS_M][BLOCKS_N][4])
{
    i32 lane = i32(threadIdx.x) % 32;
#pragma unroll
    for (int half = 0; half < DEPTH / 16; half++)
    {
        u32 left[BLOCKS_M][4], right[BLOCKS_N / 2][4];
        // Matrices in the order of A's registers: rows 0-7 and 8-15 of the first eight depths, then of the next eight.
#pragma unroll
        for (int m = 0; m < BLOCKS_M; m++)
            load_matrices(&stage.pixels[pixel_place(warp_row + m * 16 + lane % 16, half * 2 + lane / 16)], left[m]);
        // Two blocks of eight columns at once: both depths of the first, then of the second. Column k of block b is output k/2*4 + b*2 + k%2.
#pragma unroll
        for (int n = 0; n < BLOCKS_N / 2; n++)
        {
            i32 row = warp_column + n * 16 + lane % 8 / 2 * 4 + lane / 16 * 2 + lane % 2;
            load_matrices(&stage.weights[weight_place(row, half * 2 + lane / 8 % 2)], right[n]);
        }
#pragma unroll
        for (int m = 0; m < BLOCKS_M; m++)
        {
#pragma unroll
            for (int n = 0; n < BLOCKS_N; n++)
                multiply_add(ELEMENT{}, sums[m][n], left[m], right[n / 2][n % 2 * 2], right[n / 2][n % 2 * 2 + 1]);
        }
    }
}

__device__ inline const f32 *bias_row(const Arguments &a, i64 pixel)
{
    if (!a.border_bias) return a.bias;
    i32 in_image = i32(pixel % (a.out_height * a.out_width)), row = in_image / a.out_width, column = in_image % a.out_width;
    i32 rows = (row == 0) | (row == a.out_height - 1) << 1, columns = (column == 0) | (column == a.out_width - 1) << 1;
    return a.bias + (rows * 4 + columns) * a.outputs;
}

// Four neighbouring outputs of a pixel. The residual may be y, so it is read by plain loads.
__device__ inline void finish(const Arguments &a, i64 pixel, const f32 *bias, i32 output, f32 (&values)[4])
{
    f32 residual[4] = {};
    if (a.residual)
    {
        uint2 words = *(const uint2 *)(a.residual + pixel * a.residual_stride + output);
        widen_pair<ELEMENT>(words.x, residual[0], residual[1]);
        widen_pair<ELEMENT>(words.y, residual[2], residual[3]);
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
    {
        if (bias) values[i] += bias[output + i];
        if (a.relu == BEFORE_RESIDUAL && values[i] < 0) values[i] = 0;
        values[i] += residual[i];
        if (a.relu == AFTER_RESIDUAL && values[i] < 0) values[i] = 0;
    }
    store(a.y + pixel * a.y_stride + output, values);
}

extern "C" __global__ void __launch_bounds__(THREADS) conv_mma(KERNEL_ARGUMENTS(Arguments) a)
{
    __shared__ Stage stages[STAGES];
    i64 first_pixel = i64(blockIdx.x) * TILE_M;
    i32 first_output = i32(blockIdx.y) * TILE_N, depths = a.kernel * a.kernel * a.inputs, steps = (depths + DEPTH - 1) / DEPTH;
    i32 warp = i32(threadIdx.x) / 32, warp_row = warp / 2 * WARP_M, warp_column = warp % 2 * WARP_N;
    Window windows[PIXEL_COPIES];
#pragma unroll
    for (int i = 0; i < PIXEL_COPIES; i++) windows[i] = window_of(a, first_pixel + i32(threadIdx.x) / CHUNKS + i * (THREADS / CHUNKS));

#pragma unroll
    for (int s = 0; s < STAGES - 1; s++)
    {
        if (s < steps) begin_stage(a, windows, first_output, s * DEPTH, depths, stages[s]);
        close_copies();
    }
    f32 sums[BLOCKS_M][BLOCKS_N][4] = {};
    i32 current = 0, free = STAGES - 1;
    for (i32 step = 0; step < steps; step++)
    {
        wait_for_copies<STAGES - 2>();
        // Everyone's copies of this step are there, and everyone is through with the stage that the next copies go to.
        __syncthreads();
        if (step + STAGES - 1 < steps) begin_stage(a, windows, first_output, (step + STAGES - 1) * DEPTH, depths, stages[free]);
        close_copies();
        multiply(stages[current], warp_row, warp_column, sums);
        current = current + 1 == STAGES ? 0 : current + 1;
        free = free + 1 == STAGES ? 0 : free + 1;
    }

    i32 lane = i32(threadIdx.x) % 32, group = lane / 4;
#pragma unroll
    for (int m = 0; m < BLOCKS_M; m++)
    {
#pragma unroll
        for (int half = 0; half < 2; half++)
        {
            i64 pixel = first_pixel + warp_row + m * 16 + half * 8 + group;
            if (pixel >= a.pixels) continue;
            const f32 *bias = bias_row(a, pixel);
#pragma unroll
            for (int n = 0; n < BLOCKS_N; n += 2)
            {
                i32 output = first_output + warp_column + n * 8 + lane % 4 * 4;
                f32 values[4] = {sums[m][n][half * 2], sums[m][n][half * 2 + 1], sums[m][n + 1][half * 2], sums[m][n + 1][half * 2 + 1]};
                if (output < a.outputs) finish(a, pixel, bias, output, values);
            }
        }
    }
}
