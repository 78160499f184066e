// The network's first convolution on tensor cores: 3x3, stride 2, padding 1, of a three-channel image to many channels.
//
//   y[p, o] = act(bias[o] + sum over ky, kx, i of x[2 row - 1 + ky, 2 column - 1 + kx, i] * w[o, ky, kx, i])
//
// Channels below `first_channels` go to one map without or with ReLU, those from there on to another: folded, the stem has two convolutions
// of the image. x is an NHWC image of any pixel stride, y are NHWC channel slices of x's type, bias is fp32 or null, w is in the order IMAGE of
// pack_weights.cu. y must not overlap x.
//
// Defines   ELEMENT  f16 or bf16
// Launch    grid (tiles of 8x32 pixels of y, 1, n), block 256
// Shared    (17 * 101 + outputs * 16) * 4 bytes, dynamic
// Requires  outputs and first_channels multiples of 8; both y on 16 bytes with pixel strides of whole 16 bytes; three channels of x; weights and
//           bias on 16 bytes; pixels of an image fit 31 bits
//
// An implicit product over 9 taps of 3 channels padded to a fragment's 16 would be 5 times the work, and FFMA takes about 10 us on an H100
// where writing y takes 8. Instead the sum's 27 values are packed into two fragments of 16: the nine values of a line of taps are
// neighbours in the image's row, and start at an even element, so a pair of a fragment is one aligned word of the tile in shared memory.
// Fragment groups 0, 1, 2 are the first eight values of lines 0, 1, 2; group 3 the ninth values of all three; a row of 101 words keeps
// these words in different banks. What else stands in the words of group 3 is masked, the weights there are zero.
//
// A warp makes a row of 32 pixels, 32 channels at a time. A quad of lanes holds 32 channels of a pixel in pairs; a transpose by shuffles
// gives each lane 16 bytes to store, 64 neighbouring bytes a quad.
//
// Bytes: x once plus 6 % of halo, y once. Flops: 54 an output element (64 with the padding).
#include "conv_first.cuh"
#include "mma.cuh"
#include "overlap.cuh"

constexpr int THREADS = 256, TILE_H = 8, TILE_W = 32, ROWS = 2 * TILE_H + 1, COLUMNS = 2 * TILE_W + 2, PITCH = 101;
constexpr int CHUNK = 32, TILES = CHUNK / 8, FRAGMENTS = TILE_W / 16, ROW_VECTORS = 4;

using Output = FirstOutput<ELEMENT>;
using Arguments = FirstArguments<ELEMENT>;

#if HAS_GRID_CONSTANT
__device__ inline const Output &output_of(const Arguments &a, i32 is_second)
{
    return a.outputs[is_second];
}
#else
// An index would copy the arguments to the stack.
__device__ inline Output output_of(const Arguments &a, i32 is_second)
{
    return is_second ? a.outputs[1] : a.outputs[0];
}
#endif

__device__ inline void begin_weights(const Arguments &a, uint4 *weights)
{
    for (i32 i = threadIdx.x; i < a.channels * ROW_VECTORS; i += THREADS)
    {
        i32 row = i / ROW_VECTORS, vector = i % ROW_VECTORS;
        copy16_to_shared(weights + row * ROW_VECTORS + (vector ^ row_key<ROW_VECTORS>(row)), a.weights + i * 8);
    }
    close_copies();
}

// Word n of lane t of a quad becomes word t of lane n.
__device__ inline void transpose_quad(u32 (&words)[4])
{
#pragma unroll
    for (int step = 1; step <= 2; step *= 2)
    {
        bool is_upper = threadIdx.x & step;
#pragma unroll
        for (int i = 0; i < 4; i++)
        {
            if (i & step) continue;
            u32 received = __shfl_xor_sync(0xffffffffu, is_upper ? words[i] : words[i + step], step);
            if (is_upper) words[i] = received;
            else words[i + step] = received;
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) conv_first(KERNEL_ARGUMENTS(Arguments) a)
{
    extern __shared__ uint4 shared_memory[];
    uint4 *weights = shared_memory;
    u32 *tile = (u32 *)(shared_memory + a.channels * ROW_VECTORS);
    i32 lane = threadIdx.x % 32, quad = lane / 4, place = lane % 4, tile_row = threadIdx.x / 32;
    i32 first_row = i32(blockIdx.x) / a.tiles_across * TILE_H, first_column = i32(blockIdx.x) % a.tiles_across * TILE_W;

    begin_weights(a, weights);
    await_previous();
    auto store_bits = [&](i32 row, i32 i, u32 bits) { ((u16 *)tile)[row * PITCH * 2 + i] = u16(bits); };
    fill_image<ROWS, COLUMNS * 3, THREADS>(a, 2 * first_row - 1, 2 * first_column - 1, store_bits);
    wait_for_copies<0>();
    __syncthreads();
    begin_next();

    i32 row = first_row + tile_row;
    if (row >= a.out_height) return;

    u32 x[FRAGMENTS][2][4];
    const u32 *corner = tile + 2 * tile_row * PITCH + 3 * quad;
#pragma unroll
    for (int m = 0; m < FRAGMENTS; m++)
    {
#pragma unroll
        for (int group = 0; group < 4; group++)
        {
            i32 offset = group < 3 ? group * PITCH + place : min(place, 2) * PITCH + 4;
            u32 mask = group < 3 ? ~0u : place < 3 ? 0xffffu : 0u;
            x[m][group / 2][group % 2 * 2] = corner[offset + m * 48] & mask;
            x[m][group / 2][group % 2 * 2 + 1] = corner[offset + m * 48 + 24] & mask;
        }
    }

    i64 line = (i64(blockIdx.z) * a.out_height + row) * a.out_width;
    for (i32 chunk = 0; chunk < a.channels; chunk += CHUNK)
    {
        f32 sums[FRAGMENTS][TILES][4];
        u32 w[TILES][4];
#pragma unroll
        for (int n = 0; n < TILES; n++)
        {
            // Channels come in eights: a tile that does not exist repeats the last one and is not stored.
            i32 channel = min(chunk + n * 8, a.channels - 8), w_row = channel + lane % 8;
            load_matrices(shared_address(weights + w_row * ROW_VECTORS + (lane / 8 ^ row_key<ROW_VECTORS>(w_row))), w[n]);
            f32 bias[2] = {};
            if (a.bias) load(a.bias + channel + place * 2, bias);
#pragma unroll
            for (int m = 0; m < FRAGMENTS; m++)
            {
                sums[m][n][0] = sums[m][n][2] = bias[0];
                sums[m][n][1] = sums[m][n][3] = bias[1];
            }
        }
#pragma unroll
        for (int m = 0; m < FRAGMENTS; m++)
        {
#pragma unroll
            for (int n = 0; n < TILES; n++)
            {
                multiply_add<ELEMENT>(sums[m][n], x[m][0], w[n][0], w[n][1]);
                multiply_add<ELEMENT>(sums[m][n], x[m][1], w[n][2], w[n][3]);
            }
        }

        i32 channel = chunk + place * 8, is_second = channel >= a.first_channels;
        const Output &output = output_of(a, is_second);
        ELEMENT *target = output.y + line * output.stride + channel - (is_second ? a.first_channels : 0);
#pragma unroll
        for (int m = 0; m < FRAGMENTS; m++)
        {
#pragma unroll
            for (int half = 0; half < 2; half++)
            {
                u32 words[4];
#pragma unroll
                for (int n = 0; n < TILES; n++)
                {
                    bool relu = output_of(a, chunk + n * 8 >= a.first_channels).relu;
                    f32 first = sums[m][n][half * 2], second = sums[m][n][half * 2 + 1];
                    words[n] = narrow_pair<ELEMENT>(relu && first < 0 ? 0 : first, relu && second < 0 ? 0 : second);
                }
                transpose_quad(words);
                i32 column = first_column + m * 16 + half * 8 + quad;
                if (column < a.out_width && channel < a.channels) store_global16(target + i64(column) * output.stride, words);
            }
        }
    }
}
