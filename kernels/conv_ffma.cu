// Dense convolution, 1x1 or 3x3, stride 1 or 2, zero padding kernel/2, in exact fp32 (FFMA, never tf32), with its epilogue:
//
//   v[n, r, k, o] = bias[case(r, k), o] + sum over ky, kx, i of w[o, ky, kx, i] * x[n, r*s + ky - p, k*s + kx - p, i]
//   y = v,   max(v, 0),   v + residual,   max(v, 0) + residual   or   max(v + residual, 0)
//
// x, y and residual are NHWC channel slices; weights are fp32 [O][kernel*kernel*I]; bias is fp32 [O], null, or a table of 16 border cases (bit 0: first
// row, bit 1: last row, then columns; case = 4 * rows + columns). y may be the residual, and otherwise overlaps nothing. It serves every type on
// every architecture: where tensor cores do better, another kernel takes its place.
//
// Defines   ELEMENT  f32, f16 or bf16: how x, y and residual are stored
//           LOADS    4 where I is a multiple of 4 and x and weights allow vectors of 4 elements, else 1
//           STORES   4 where O is a multiple of 4 and y and residual allow vectors of 4 elements, else 1
// Launch    grid (ceil(n*h*w of y / 64), ceil(O / 64)), blocks of 256 threads
// Shared    16 KiB
//
// An implicit GEMM: rows are pixels of y, columns are outputs, the depth is taps times input channels in the weights' own order. A block
// makes 64 x 64 values in steps of 16 in depth, a thread 4 x 4: two 16-byte reads feed 16 FMAs. Larger tiles would halve shared reads, which do
// not limit here (3 passes for 16 FMAs of a warp), and the blocks of a 1/32-size map, of which there are only 24 as it is.
// While one step is computed, the next is on its way to registers; two buffers, one barrier a step. Both tiles lie depth-major; a
// column's number is XORed with its depth's group of four, so that neither writes (four depths of eight rows a warp) nor reads conflict.
//
// Bytes: x ceil(O/64) times, weights once a block (from L2), y once. Flops: 2 * kernel^2 * I an output element.
#include "types.cuh"

constexpr int THREADS = 256, BLOCK = 64, DEPTH = 16;

enum Relu : i32
{
    NONE,
    BEFORE_RESIDUAL,
    AFTER_RESIDUAL,
};

struct Arguments
{
    const ELEMENT *x;
    const f32 *weights;
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

__device__ inline const ELEMENT *input_at(const Arguments &a, const Window &w, i32 depth)
{
    i32 tap = depth / a.inputs, row = w.row + tap / a.kernel, column = w.column + tap % a.kernel;
    if (tap >= a.kernel * a.kernel || row < 0 || row >= a.height || column < 0 || column >= a.width) return nullptr;
    return w.image + i64(row * a.width + column) * a.x_stride + depth % a.inputs;
}

// Four neighbouring depths of a pixel.
__device__ inline void fetch_inputs(const Arguments &a, const Window &w, i32 depth, f32 (&values)[4])
{
#if LOADS == 4
    const ELEMENT *from = input_at(a, w, depth);
    if (from) load(from, values);
    else values[0] = values[1] = values[2] = values[3] = 0;
#else
#pragma unroll
    for (int i = 0; i < 4; i++)
    {
        const ELEMENT *from = input_at(a, w, depth + i);
        values[i] = from ? load_one(from) : 0;
    }
#endif
}

// Four neighbouring depths of an output.
__device__ inline void fetch_weights(const Arguments &a, i32 output, i32 depth, i32 depths, f32 (&values)[4])
{
    const f32 *from = a.weights + i64(output) * depths + depth;
#if LOADS == 4
    if (output < a.outputs && depth < depths) load(from, values);
    else values[0] = values[1] = values[2] = values[3] = 0;
#else
#pragma unroll
    for (int i = 0; i < 4; i++) values[i] = output < a.outputs && depth + i < depths ? load_one(from + i) : 0;
#endif
}

__device__ inline i32 place(i32 depth, i32 column)
{
    return depth * BLOCK + (column ^ depth / 4 * 8);
}

__device__ inline void keep(f32 *tile, i32 depth, i32 column, const f32 (&values)[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++) tile[place(depth + i, column)] = values[i];
}

__device__ inline void read_four(const f32 *tile, i32 depth, i32 column, f32 (&values)[4])
{
    float4 v = *(const float4 *)(tile + place(depth, column));
    values[0] = v.x, values[1] = v.y, values[2] = v.z, values[3] = v.w;
}

__device__ inline const f32 *bias_row(const Arguments &a, i64 pixel)
{
    if (!a.border_bias) return a.bias;
    i32 in_image = i32(pixel % (a.out_height * a.out_width)), row = in_image / a.out_width, column = in_image % a.out_width;
    i32 rows = (row == 0) | (row == a.out_height - 1) << 1, columns = (column == 0) | (column == a.out_width - 1) << 1;
    return a.bias + (rows * 4 + columns) * a.outputs;
}

// The residual may be y, so it is read by plain loads.
__device__ inline f32 finish(const Arguments &a, f32 value, const f32 *bias, const ELEMENT *residual, i32 output)
{
    if (bias) value += bias[output];
    if (a.relu == BEFORE_RESIDUAL && value < 0) value = 0;
    if (residual) value += to_float(residual[output]);
    return a.relu == AFTER_RESIDUAL && value < 0 ? 0 : value;
}

extern "C" __global__ void __launch_bounds__(THREADS) conv_ffma(KERNEL_ARGUMENTS(Arguments) a)
{
    __shared__ __align__(16) f32 pixel_tile[2][DEPTH * BLOCK], weight_tile[2][DEPTH * BLOCK];
    i64 first_pixel = i64(blockIdx.x) * BLOCK;
    i32 first_output = i32(blockIdx.y) * BLOCK, depths = a.kernel * a.kernel * a.inputs;
    // Loading, four threads take the 16 depths of a row; computing, a thread takes 4 rows and 4 columns.
    i32 load_row = i32(threadIdx.x) / 4, load_depth = i32(threadIdx.x) % 4 * 4;
    i32 row = i32(threadIdx.x) / 16 * 4, column = i32(threadIdx.x) % 16 * 4;
    Window window = window_of(a, first_pixel + load_row);

    f32 sums[4][4] = {}, inputs[4], weights[4];
    fetch_inputs(a, window, load_depth, inputs);
    fetch_weights(a, first_output + load_row, load_depth, depths, weights);
    keep(pixel_tile[0], load_depth, load_row, inputs);
    keep(weight_tile[0], load_depth, load_row, weights);
    __syncthreads();
    i32 buffer = 0;
    for (i32 first_depth = 0; first_depth < depths; first_depth += DEPTH)
    {
        i32 next = first_depth + DEPTH;
        if (next < depths)
        {
            fetch_inputs(a, window, next + load_depth, inputs);
            fetch_weights(a, first_output + load_row, next + load_depth, depths, weights);
        }
#pragma unroll
        for (int depth = 0; depth < DEPTH; depth++)
        {
            f32 left[4], right[4];
            read_four(pixel_tile[buffer], depth, row, left);
            read_four(weight_tile[buffer], depth, column, right);
#pragma unroll
            for (int i = 0; i < 4; i++)
            {
#pragma unroll
                for (int j = 0; j < 4; j++) sums[i][j] += left[i] * right[j];
            }
        }
        if (next >= depths) break;
        buffer ^= 1;
        keep(pixel_tile[buffer], load_depth, load_row, inputs);
        keep(weight_tile[buffer], load_depth, load_row, weights);
        __syncthreads();
    }

    i32 output = first_output + column;
#pragma unroll
    for (int i = 0; i < 4; i++)
    {
        i64 pixel = first_pixel + row + i;
        if (pixel >= a.pixels) break;
        const f32 *bias = bias_row(a, pixel);
        const ELEMENT *residual = a.residual ? a.residual + pixel * a.residual_stride : nullptr;
        ELEMENT *to = a.y + pixel * a.y_stride;
#if STORES == 4
        if (output >= a.outputs) break;
#pragma unroll
        for (int j = 0; j < 4; j++) sums[i][j] = finish(a, sums[i][j], bias, residual, output + j);
        store(to + output, sums[i]);
#else
#pragma unroll
        for (int j = 0; j < 4; j++)
        {
            if (output + j < a.outputs) store_one(to + output + j, finish(a, sums[i][j], bias, residual, output + j));
        }
#endif
    }
}
