// The second half of the paper's Dilation-wise Residual module, Semantic Residualization, in one launch on tensor cores:
//
//   m[p, c] = act(bias[c] + sum over ky, kx of w[ky, kx, c] * x[row + (ky-1)*d, column + (kx-1)*d, c / k])     per branch: its x, d, k, channels c
//   y[p, o] = epilogue(sum over all branches' c of m[p, c] * v[o, c])                                          1x1
//
// x, y and the residual (the shortcut) are NHWC channel slices of one type; depth-wise weights are fp32 [9][outputs of the branch] with the BN
// folded in, biases fp32 or null; v is of the maps' type in whole tiles of OUTPUTS x 64 (pack_weights.cu, TILES). Outside the map x is zero; act is ReLU or
// nothing. m, the concatenated map, is rounded to the maps' type, as if it were stored, but it exists only in shared memory. y must overlap
// no x.
//
// Defines   ELEMENT  f16 or bf16
//           OUTPUTS  outputs that a block makes, 64 or 128
//           CLUSTER  blocks that share a tile's sum, 1, 2 or 4; more than 1 from sm_90 on
// Launch    grid (CLUSTER times tiles of 4x4 pixels, tiles of outputs, n), block 128, in clusters of CLUSTER
// Shared    (STAGES * OUTPUTS + 16 * the most parts of 64 c of a block) * 128 bytes, STAGES = 4, dynamic
// Requires  sm_80; at least CLUSTER times 64 c; all maps on 16 bytes with pixel strides of whole 16 bytes; a branch's channels c multiples of 8, k 1 or 2; fp32 vectors on
//           16 bytes
//
// Tiles are small because the maps are: stage 4 of DWRSeg has 512 pixels at 512x1024, and a tile of 16, one fragment's rows, already leaves
// only 32 blocks. So latency is what counts: the copies of all v that fits are started first, and the depth-wise convolution runs while
// they arrive. It reads x straight from global memory: 16 pixels share little of a halo of dilation 5, and what they share L1 keeps. A
// thread makes eight channels of the four pixels of a row: nine taps of 36 independent 16-byte loads. Where even so multiprocessors would be
// idle, the blocks of a cluster have a part of the channels each and add their sums up (cluster.cuh), and a thread makes fewer pixels.
//
// Bytes: x once (from L2 about 9 times, less what L1 keeps), v once a tile from L2; residual and y once. Flops: 2 * (9 + outputs) * all c a
// pixel.
#include "cluster.cuh"
#include "conv.cuh"
#include "copy_batch.cuh"
#include "mma.cuh"
#include "overlap.cuh"

constexpr int VECTOR = 8, ROW = 64, ROW_VECTORS = ROW / VECTOR, THREADS = 128, WARPS = THREADS / 32, STAGES = 4, MAX_BRANCHES = 8;
constexpr int SIDE = 4, RUN = SIDE / CLUSTER, PIXELS = SIDE * SIDE, STAGE_VECTORS = OUTPUTS * ROW_VECTORS;
constexpr int WARP_N = OUTPUTS / WARPS, FRAGMENTS = WARP_N / 8, PITCH = OUTPUTS + 8;
static_assert(PIXELS * PITCH * 4 <= STAGES * STAGE_VECTORS * 16, "the staged sums fit in the weights' place");

struct Branch
{
    const ELEMENT *x;
    const f32 *weights;
    const f32 *bias;
    i32 x_stride, multiplier, dilation;
    // Among all c.
    i32 first, channels;
    i32 padding;
};

struct Arguments
{
    Branch branches[MAX_BRANCHES];
    const ELEMENT *project;
    // Of y; inputs counts all c.
    ConvShape shape;
    Epilogue<ELEMENT> epilogue;
    i32 count, relu, tiles_across, padding;
};

// `weights` is this thread's first vector of the block's first step.
__device__ inline void begin_weights(const uint4 *weights, i32 step, uint4 *stage)
{
    CopyBatch<STAGE_VECTORS / THREADS, true> copies;
    const uint4 *from = weights + step * STAGE_VECTORS;
    uint4 *to = stage + threadIdx.x;
#pragma unroll
    for (int i = 0; i < STAGE_VECTORS / THREADS; i++) copies.begin(i, to + i * THREADS, from + i * THREADS);
}

// Eight channels, from `channel` of the branch on, of some neighbouring pixels of a row: M outputs read one input channel.
template <int M>
__device__ inline void convolve(const Arguments &a, const Branch &b, i32 channel, i32 row, i32 column, f32 (&sums)[RUN][VECTOR])
{
    constexpr int INPUTS = VECTOR / M;
    const ConvShape &s = a.shape;
    const ELEMENT *image = b.x + i64(blockIdx.z) * s.height * s.width * b.x_stride + channel / M;
#pragma unroll
    for (int tap = 0; tap < 9; tap++)
    {
        i32 y = row + (tap / 3 - 1) * b.dilation;
        if (y < 0 || y >= s.height) continue;
        f32 weights[VECTOR];
        load(b.weights + tap * b.channels + channel, weights);
#pragma unroll
        for (int p = 0; p < RUN; p++)
        {
            i32 x = column + p + (tap % 3 - 1) * b.dilation;
            f32 values[INPUTS] = {};
            if (x >= 0 && x < s.width) load(image + i64(y * s.width + x) * b.x_stride, values);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) sums[p][i] += weights[i] * values[i / M];
        }
    }
}

// The channels of the block's steps, of all pixels of the tile, to [step][pixel][64].
__device__ inline void make_middle(const Arguments &a, i32 first_row, i32 first_column, i32 first_step, i32 steps, uint4 *middle)
{
    for (i32 item = threadIdx.x; item < steps * ROW_VECTORS * SIDE * CLUSTER; item += THREADS)
    {
        // A warp takes 64 channels of the tile's four rows: they are of one branch as a rule, and eight lanes store to all banks.
        i32 part = item / (ROW_VECTORS * SIDE * CLUSTER), vector = item % ROW_VECTORS, line = item / ROW_VECTORS % SIDE;
        i32 first = item / (ROW_VECTORS * SIDE) % CLUSTER * RUN, c = (first_step + part) * ROW + vector * VECTOR, index = a.count - 1;
        while (a.branches[index].first > c) index--;
        const Branch &b = a.branches[index];
        i32 channel = c - b.first, row = first_row + line, column = first_column + first;
        f32 sums[RUN][VECTOR] = {};
        // Behind the last channel there are zeros.
        if (channel < b.channels && row < a.shape.height)
        {
            f32 bias[VECTOR] = {};
            if (b.bias) load(b.bias + channel, bias);
#pragma unroll
            for (int p = 0; p < RUN; p++)
            {
#pragma unroll
                for (int i = 0; i < VECTOR; i++) sums[p][i] = bias[i];
            }
            if (b.multiplier == 1) convolve<1>(a, b, channel, row, column, sums);
            else convolve<2>(a, b, channel, row, column, sums);
#pragma unroll
            for (int p = 0; p < RUN; p++)
            {
#pragma unroll
                for (int i = 0; i < VECTOR; i++) sums[p][i] = a.relu ? rectified(sums[p][i]) : sums[p][i];
            }
        }
#pragma unroll
        for (int p = 0; p < RUN; p++)
        {
            i32 pixel = line * SIDE + first + p;
            uint4 *to = middle + (part * PIXELS + pixel) * ROW_VECTORS + (vector ^ row_key<ROW_VECTORS>(pixel));
            store((ELEMENT *)to, sums[p]);
        }
    }
}

__device__ inline void multiply(const uint4 *middle, const uint4 *stage, f32 (&sums)[FRAGMENTS][4])
{
    i32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, pixel = lane % 16, output = warp * WARP_N + lane % 8 + lane / 16 * 8;
    u32 x_base = shared_address(middle + pixel * ROW_VECTORS), w_base = shared_address(stage + output * ROW_VECTORS);
    i32 x_vector = lane / 16 ^ row_key<ROW_VECTORS>(pixel), w_vector = lane / 8 % 2 ^ row_key<ROW_VECTORS>(output);
#pragma unroll
    for (int k = 0; k < ROW_VECTORS; k += 2)
    {
        u32 x[4];
        load_matrices(x_base + ((x_vector ^ k) << 4), x);
#pragma unroll
        for (int n = 0; n < FRAGMENTS; n += 2)
        {
            u32 w[4];
            load_matrices(w_base + n * 8 * ROW_VECTORS * 16 + ((w_vector ^ k) << 4), w);
            multiply_add<ELEMENT>(sums[n], x, w[0], w[1]);
            multiply_add<ELEMENT>(sums[n + 1], x, w[2], w[3]);
        }
    }
}

#if CLUSTER > 1
#define CLUSTER_SIZE __cluster_dims__(CLUSTER, 1, 1)
#else
#define CLUSTER_SIZE
#endif

extern "C" __global__ void CLUSTER_SIZE __launch_bounds__(THREADS) dwr_sr_mma(KERNEL_ARGUMENTS(Arguments) a)
{
    extern __shared__ uint4 shared_memory[];
    uint4 *weights = shared_memory, *middle = weights + STAGES * STAGE_VECTORS;
    const ConvShape &s = a.shape;
    i32 tile = i32(blockIdx.x) / CLUSTER, rank = i32(blockIdx.x) % CLUSTER, first_output = i32(blockIdx.y) * OUTPUTS;
    i32 first_row = tile / a.tiles_across * SIDE, first_column = tile % a.tiles_across * SIDE;
    i32 all_steps = (s.inputs + ROW - 1) / ROW, first_step = rank * all_steps / CLUSTER, steps = (rank + 1) * all_steps / CLUSTER - first_step;
    const uint4 *project = (const uint4 *)a.project + (i64(blockIdx.y) * all_steps + first_step) * STAGE_VECTORS + threadIdx.x;

#pragma unroll
    for (int i = 0; i < STAGES; i++)
    {
        if (i < steps) begin_weights(project, i, weights + i * STAGE_VECTORS);
        close_copies();
    }
    await_previous();
    make_middle(a, first_row, first_column, first_step, steps, middle);

    f32 sums[FRAGMENTS][4] = {};
    for (i32 step = 0; step < steps; step++)
    {
        wait_for_copies<STAGES - 1>();
        __syncthreads();
        uint4 *stage = weights + step % STAGES * STAGE_VECTORS;
        multiply(middle + step * PIXELS * ROW_VECTORS, stage, sums);
        if (step + STAGES < steps)
        {
            __syncthreads();
            begin_weights(project, step + STAGES, stage);
        }
        close_copies();
    }
    wait_for_copies<0>();
    begin_next();
    __syncthreads();

    f32 *staged = (f32 *)weights;
    i32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int n = 0; n < FRAGMENTS; n++)
    {
        f32 *to = staged + lane / 4 * PITCH + warp * WARP_N + n * 8 + lane % 4 * 2;
        *(float2 *)to = make_float2(sums[n][0], sums[n][1]);
        *(float2 *)(to + 8 * PITCH) = make_float2(sums[n][2], sums[n][3]);
    }
#if CLUSTER > 1
    begin_meeting();
    end_meeting();
    Share pixels = share_of<1>(rank, CLUSTER, PIXELS);
    // Nobody else reads the sums of these pixels here, so they are joined in their place.
    join_in_cluster<THREADS, OUTPUTS>(staged + pixels.first * PITCH, PITCH, pixels.count, CLUSTER);
    begin_meeting();
#else
    Share pixels = {0, PIXELS};
#endif
    __syncthreads();
    // Lanes 4 to 7 of eight read their second half first, so that the eight read from all banks.
    i32 half = threadIdx.x / 4 % 2 * 4;
    for (i32 item = threadIdx.x; item < pixels.count * (OUTPUTS / VECTOR); item += THREADS)
    {
        i32 pixel = pixels.first + item / (OUTPUTS / VECTOR), channel = item % (OUTPUTS / VECTOR) * VECTOR;
        i32 row = first_row + pixel / SIDE, column = first_column + pixel % SIDE;
        if (row >= s.height || column >= s.width || first_output + channel >= s.outputs) continue;
        const f32 *from = staged + pixel * PITCH + channel;
        float4 first = *(const float4 *)(from + half), second = *(const float4 *)(from + (half ^ 4));
        float4 low = half ? second : first, high = half ? first : second;
        f32 values[VECTOR] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
        finish(a.epilogue, s, (i32(blockIdx.z) * s.height + row) * s.width + column, first_output + channel, true, values);
    }
#if CLUSTER > 1
    // The others may still be reading this block's sums.
    end_meeting();
#endif
}
