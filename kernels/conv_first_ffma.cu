// The network's first convolution in exact fp32 (FFMA): 3x3, stride 2, padding 1, of a three-channel image to many channels.
//
//   y[p, o] = act(bias[o] + sum over ky, kx, i of x[2 row - 1 + ky, 2 column - 1 + kx, i] * w[o, ky, kx, i])
//
// Channels below `first_channels` go to one map without or with ReLU, those from there on to another, as in conv_first.cu. x is an NHWC image of
// any pixel stride, y are NHWC channel slices, bias is fp32 or null, w are the first map's weights and behind them the second's, each in the order
// COLUMNS of pack_weights.cu. y must not overlap x.
//
// Launch    grid (tiles of 16x32 pixels of y, 1, n), block 256
// Shared    (33 * 199 + 27 * outputs) * 4 bytes, dynamic
// Requires  outputs and first_channels multiples of 4; both y on 16 bytes with pixel strides of whole 16 bytes; three channels of x; weights
//           and bias on 16 bytes; pixels of an image fit 31 bits
//
// conv_ffma.cu takes 16 channels of a tap at a time: three fill a fifth of such a step. Here a sum's 27 values are a loop of their own length, and
// the image's tile is read once for both maps. A thread makes eight neighbouring pixels of a row and eight channels of each at a time: for a line of taps
// and an input it reads the 17 values that its pixels share, and six vectors of weights, for 192 multiply-adds.
//
// A warp makes 32 pixels of two rows, four lanes side by side the 32 channels of a round, so 64 neighbouring bytes of a pixel are stored at once.
// Each 48 values of the image's tile (16 pixels, a thread's) are followed by a gap of one, so that the eight places that a warp reads at once lie in
// different banks.
//
// Bytes: x once plus 5 % of halo, y once. Flops: 54 an output element.
#include "async_copy.cuh"
#include "conv_first.cuh"
#include "overlap.cuh"

constexpr int THREADS = 256, TILE_H = 16, TILE_W = 32, ROWS = 2 * TILE_H + 1, VALUES = (2 * TILE_W + 1) * 3;
constexpr int PIXELS = 8, COLUMNS = 2 * PIXELS + 1, RUN = 2 * PIXELS * 3, PITCH = 199, SUM = 27, CHUNK = 32, VECTOR = 4;
static_assert(PITCH > VALUES - 1 + (VALUES - 1) / RUN, "a row with its gaps");

using Arguments = FirstArguments<f32>;

__device__ inline void begin_weights(const Arguments &a, float4 *weights)
{
    i32 vectors = a.channels / VECTOR;
    for (i32 i = threadIdx.x; i < SUM * vectors; i += THREADS)
    {
        i32 k = i / vectors, channel = i % vectors * VECTOR, second_channels = a.channels - a.first_channels;
        i32 offset = channel < a.first_channels ? k * a.first_channels + channel
                                                : SUM * a.first_channels + k * second_channels + channel - a.first_channels;
        copy16_to_shared(weights + i, a.weights + offset);
    }
    close_copies();
}

__device__ inline void store_vectors(const Arguments &a, i32 channel, i32 row, i32 column, const f32 (&sums)[PIXELS][2 * VECTOR], int first)
{
    if (channel >= a.channels) return;
    bool is_second = channel >= a.first_channels;
    // An index would copy the arguments to the stack.
    f32 *y = is_second ? a.outputs[1].y : a.outputs[0].y;
    i32 stride = is_second ? a.outputs[1].stride : a.outputs[0].stride;
    bool relu = is_second ? a.outputs[1].relu : a.outputs[0].relu;
    y += ((i64(blockIdx.z) * a.out_height + row) * a.out_width + column) * stride + channel - (is_second ? a.first_channels : 0);
#pragma unroll
    for (int m = 0; m < PIXELS; m++)
    {
        if (column + m >= a.out_width) break;
        f32 values[VECTOR];
#pragma unroll
        for (int i = 0; i < VECTOR; i++) values[i] = relu && sums[m][first + i] < 0 ? 0 : sums[m][first + i];
        u32 words[VECTOR];
        narrow<f32, VECTOR>(values, words);
        store_global16(y, words);
        y += stride;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) conv_first_ffma(KERNEL_ARGUMENTS(Arguments) a)
{
    extern __shared__ float4 shared_memory[];
    float4 *weights = shared_memory;
    f32 *tile = (f32 *)(shared_memory + SUM * (a.channels / VECTOR));
    i32 lane = threadIdx.x % 32, across = lane % 4, group = lane / 4 % 4, tile_row = threadIdx.x / 32 * 2 + lane / 16;
    i32 first_row = i32(blockIdx.x) / a.tiles_across * TILE_H, first_column = i32(blockIdx.x) % a.tiles_across * TILE_W;

    begin_weights(a, weights);
    await_previous();
    auto store_bits = [&](i32 row, i32 i, u32 bits) { tile[row * PITCH + i + i / RUN] = __uint_as_float(bits); };
    fill_image<ROWS, VALUES, THREADS>(a, 2 * first_row - 1, 2 * first_column - 1, store_bits);
    wait_for_copies<0>();
    __syncthreads();
    begin_next();

    i32 row = first_row + tile_row, column = first_column + group * PIXELS;
    if (row >= a.out_height) return;
    const f32 *corner = tile + 2 * tile_row * PITCH + group * (RUN + 1);

    for (i32 chunk = 0; chunk < a.channels; chunk += CHUNK)
    {
        // A vector of channels that does not exist repeats the last one and is not stored.
        i32 low = chunk + across * VECTOR, high = low + CHUNK / 2;
        i32 low_read = min(low, a.channels - VECTOR) / VECTOR, high_read = min(high, a.channels - VECTOR) / VECTOR;
        f32 sums[PIXELS][2 * VECTOR];
        f32 bias[2][VECTOR] = {};
        if (a.bias)
        {
            load(a.bias + low_read * VECTOR, bias[0]);
            load(a.bias + high_read * VECTOR, bias[1]);
        }
#pragma unroll
        for (int m = 0; m < PIXELS; m++)
        {
#pragma unroll
            for (int n = 0; n < 2 * VECTOR; n++) sums[m][n] = bias[n / VECTOR][n % VECTOR];
        }
        for (i32 line = 0; line < 3; line++)
        {
            const f32 *from = corner + line * PITCH;
            const float4 *rows = weights + line * 9 * (a.channels / VECTOR);
#pragma unroll
            for (int i = 0; i < 3; i++)
            {
                f32 x[COLUMNS];
#pragma unroll
                for (int c = 0; c < COLUMNS; c++) x[c] = from[c * 3 + i + c * 3 / RUN];
#pragma unroll
                for (int k = 0; k < 3; k++)
                {
                    const float4 *row_of = rows + (k * 3 + i) * (a.channels / VECTOR);
#pragma unroll
                    for (int half = 0; half < 2; half++)
                    {
                        float4 vector = row_of[half == 0 ? low_read : high_read];
                        f32 w[VECTOR] = {vector.x, vector.y, vector.z, vector.w};
#pragma unroll
                        for (int m = 0; m < PIXELS; m++)
                        {
#pragma unroll
                            for (int n = 0; n < VECTOR; n++) sums[m][half * VECTOR + n] += x[2 * m + k] * w[n];
                        }
                    }
                }
            }
        }
        store_vectors(a, low, row, column, sums, 0);
        store_vectors(a, high, row, column, sums, VECTOR);
    }
}
