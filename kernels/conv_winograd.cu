// Dense 3x3 convolution of stride 1 and padding 1 in fp32 (FFMA) by Winograd's F(2x2, 3x3): 2x2 pixels of y from 4x4 of x by 16 products a pair of
// channels, where the direct sum takes 36.
//
//   y = epilogue(A^T [sum over i of (G w G^T) * (B^T x B)] A)      (the product in the middle: point by point)
//
//   B^T = |1  0 -1  0|   G = | 1    0    0 |   A^T = |1  1  1  0|
//         |0  1  1  0|       | 1/2  1/2 1/2|         |0  1 -1 -1|
//         |0 -1  1  0|       | 1/2 -1/2 1/2|
//         |0  1  0 -1|       | 0    0    1 |
//
// x, y and the residual are NHWC channel slices of fp32, of any alignment, x of less than 2^31 elements with its gaps; w are transformed weights
// (POINTS of pack_weights.cu), bias is fp32. Epilogue: conv.cuh. y must overlap no x. Where x holds an infinity, neighbours of the pixels that it
// belongs to may be NaN.
//
// Defines   TILE_N   channels of y that a block makes, 64 or 32, of 8x16 pixels: 4x8 tiles of 2x2
//           STAGES   steps that have room in shared memory: 2 with asynchronous copies, from sm_80 on, else 1
// Launch    grid tiles of channels x tiles of pixels, the first fastest; block TILE_N * 8
// Shared    dynamic, STAGES * 512 * (32 + TILE_N) bytes
//
// For each of the 16 points there is a product of [32 tiles x inputs] by [inputs x TILE_N]: a warp's (TILE_N 64) or half a warp's (32), a thread
// 8x8 of it. A step takes 8 input channels. 256 threads load the 4x4 values of a tile and a channel each, while products of the step before are
// under way, and store what B makes of them; weights come as they lie in memory. With one stage both are stored between two barriers, weights
// without being loaded ahead, for which there are no registers: of TILE_N 32 another block of the multiprocessor hides that.
//
// Of x's points, vectors of four tiles lie together by channels: what a warp stores of a point is then 128 bytes in a row. A quarter of a warp reads
// one such vector, or, of TILE_N 32, those of two neighbours, whose channels are in different orders so that banks differ.
// In the end the points of a tile, each in another thread, meet in shared memory, some tiles at a time.
//
// Bytes: x 1.4 times (its halo) a tile of channels from L2, w 16/9 times once a tile of pixels; y and residual once. Flops: 32 a tile and pair of
// channels.
#include "conv.cuh"
#include "copy_batch.cuh"
#include "overlap.cuh"

constexpr int VECTOR = 4, SIDE = 8, TILE_K = 8, POINTS = 16, PATCH = 4, ACROSS_TILES = 8, DOWN_TILES = 4, TILES = ACROSS_TILES * DOWN_TILES;
constexpr int ACROSS = TILE_N / SIDE, DOWN = TILES / SIDE, THREADS = POINTS * ACROSS * DOWN, LOADERS = TILES * TILE_K;
constexpr int N_VECTORS = TILE_N / VECTOR, W_VECTORS = POINTS * TILE_K * N_VECTORS, W_COPIES = W_VECTORS / THREADS;
static_assert(W_COPIES * THREADS == W_VECTORS && LOADERS <= THREADS && LOADERS % 32 == 0, "whole rounds of copies, whole warps of loaders");

// Orders of the channels: vector's number % KEYS.
constexpr int KEYS = 8 / ACROSS;
// Of a thread's eight tiles so many meet at a time: ROUND * DOWN of the block's.
constexpr int ROUND = 2 * STAGES, ROWS = ROUND * DOWN, FINISHERS = ROWS * N_VECTORS;

struct Arguments
{
    const f32 *x;
    const f32 *weights;
    ConvShape shape;
    Epilogue<f32> epilogue;
    i32 channel_tiles;
};

struct Stage
{
    float4 weights[W_VECTORS];
    f32 x[POINTS * TILE_K * TILES];
};

union Memory
{
    Stage stages[STAGES];
    float4 sums[POINTS * ROWS * N_VECTORS];
};
static_assert(sizeof(Memory) == sizeof(Stage) * STAGES, "sums take the stages' place");

// Where a loader's 4x4 values lie.
struct Patch
{
    // Elements from x to the corner's, which may lie outside the map.
    i32 corner;
    // Bit 4 row + column: inside the map.
    u32 inside;
};

// Bit i: first + i lies inside, which is -1 or more.
__device__ inline u32 inside_of(i32 first, i32 extent)
{
    return (first < 0 ? 14u : 15u) & ((1u << max(min(extent - first, PATCH), 0)) - 1);
}

// Which part of y a block makes.
struct Place
{
    i32 channel_tile, image, row, column;
};

__device__ inline Place place_of(const Arguments &a)
{
    const ConvShape &s = a.shape;
    // Read anew by each caller, so that nothing of it is kept in registers between them.
    i32 block;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(block));
    i32 index = block / a.channel_tiles, across = (s.width + 2 * ACROSS_TILES - 1) / (2 * ACROSS_TILES);
    i32 line = index / across, down = (s.height + 2 * DOWN_TILES - 1) / (2 * DOWN_TILES);
    return {block % a.channel_tiles, line / down, line % down * (2 * DOWN_TILES), index % across * (2 * ACROSS_TILES)};
}

__device__ inline Patch patch_of(const Arguments &a, i32 image, i32 row, i32 column)
{
    const ConvShape &s = a.shape;
    u32 rows = inside_of(row, s.height), columns = inside_of(column, s.width);
    // Row i to bit 4 i, so the product with the columns has no carry.
    u32 inside = ((rows & 1) | (rows & 2) << 3 | (rows & 4) << 6 | (rows & 8) << 9) * columns;
    return {((image * s.height + row) * s.width + column) * s.x_stride, inside};
}

__device__ inline void load_patch(const Arguments &a, const Patch &patch, i32 channel, f32 (&values)[PATCH][PATCH])
{
    u32 inside = channel < a.shape.inputs ? patch.inside : 0;
    const f32 *row = a.x + (patch.corner + channel);
    i32 stride = a.shape.x_stride;
    // Else multiples of it, and each address, to be moved on by itself, would be kept in registers that the products need.
    asm volatile("" : "+r"(stride));
#pragma unroll
    for (int i = 0; i < PATCH; i++)
    {
#pragma unroll
        for (int j = 0; j < PATCH; j++) values[i][j] = load_one_if(inside & 1u << (PATCH * i + j), row + j * stride);
        row += i64(a.shape.width) * stride;
    }
}

__device__ inline void transform(f32 &v0, f32 &v1, f32 &v2, f32 &v3)
{
    f32 first = v0 - v2, second = v1 + v2, third = v2 - v1, fourth = v1 - v3;
    v0 = first, v1 = second, v2 = third, v3 = fourth;
}

__device__ inline void store_points(f32 (&values)[PATCH][PATCH], f32 *to)
{
#pragma unroll
    for (int j = 0; j < PATCH; j++) transform(values[0][j], values[1][j], values[2][j], values[3][j]);
#pragma unroll
    for (int i = 0; i < PATCH; i++)
    {
        transform(values[i][0], values[i][1], values[i][2], values[i][3]);
#pragma unroll
        for (int j = 0; j < PATCH; j++) to[(PATCH * i + j) * TILE_K * TILES] = values[i][j];
    }
}

// Where a thread's products read in a stage: its first vectors of tiles and of channels.
struct Fragments
{
    i32 x, weights;
};

// Tiles of a thread: four neighbours and the four half of the tiles away, as its channels.
__device__ inline void multiply(const Stage &stage, const Fragments &at, f32 (&sums)[SIDE][SIDE])
{
    const float4 *x_rows = (const float4 *)stage.x + at.x, *w_rows = stage.weights + at.weights;
    // All eight at once would take registers for values read ahead, which there are none for.
#pragma unroll 2
    for (int k = 0; k < TILE_K; k++)
    {
        const float4 *x_row = x_rows + (KEYS == 1 ? k : k ^ at.x / TILE_K % KEYS);
        float4 first = x_row[0], second = x_row[DOWN * TILE_K];
        float4 low = w_rows[k * N_VECTORS], high = w_rows[k * N_VECTORS + ACROSS];
        f32 x[SIDE] = {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
        f32 w[SIDE] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
        for (int m = 0; m < SIDE; m++)
        {
#pragma unroll
            for (int n = 0; n < SIDE; n++) sums[m][n] += x[m] * w[n];
        }
    }
}

__device__ inline float4 operator+(float4 a, float4 b)
{
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

__device__ inline float4 operator-(float4 a, float4 b)
{
    return make_float4(a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w);
}

// Vectors of a row of sums lie at vector ^ this: two rows that a quarter of a warp stores at once then differ in their banks.
__device__ inline i32 order_of(i32 row)
{
    return row % KEYS * ACROSS;
}

// Makes the 2x2 pixels of a tile and four channels of its points, which lie `pitch` vectors apart.
__device__ inline void finish_tile(const Arguments &a, const float4 *points, i32 pitch, i32 image, i32 row, i32 column, i32 channel)
{
    const ConvShape &s = a.shape;
    float4 y[2][2] = {};
#pragma unroll
    for (int i = 0; i < PATCH; i++)
    {
        float4 p0 = points[(PATCH * i) * pitch], p1 = points[(PATCH * i + 1) * pitch], p2 = points[(PATCH * i + 2) * pitch],
               p3 = points[(PATCH * i + 3) * pitch];
        float4 left = p0 + p1 + p2, right = p1 - p2 - p3;
        if (i < 3) y[0][0] = y[0][0] + left, y[0][1] = y[0][1] + right;
        if (i == 1) y[1][0] = y[1][0] + left, y[1][1] = y[1][1] + right;
        if (i > 1) y[1][0] = y[1][0] - left, y[1][1] = y[1][1] - right;
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
    {
#pragma unroll
        for (int j = 0; j < 2; j++)
        {
            if (row + i >= s.height || column + j >= s.width) continue;
            f32 values[VECTOR] = {y[i][j].x, y[i][j].y, y[i][j].z, y[i][j].w};
            finish(a.epilogue, s, (image * s.height + row + i) * s.width + column + j, channel, a.epilogue.is_vector, values);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 512 / THREADS) conv_winograd(KERNEL_ARGUMENTS(Arguments) a)
{
    extern __shared__ float4 shared_memory[];
    Memory &memory = *(Memory *)shared_memory;
    const ConvShape &s = a.shape;
    Place place = place_of(a);

    // As a loader.
    bool loads = THREADS == LOADERS || threadIdx.x < LOADERS;
    i32 tile = threadIdx.x / TILE_K, channel = threadIdx.x % TILE_K;
    Patch patch = patch_of(a, place.image, place.row + tile / ACROSS_TILES * 2 - 1, place.column + tile % ACROSS_TILES * 2 - 1);
    i32 x_place = (tile / VECTOR * TILE_K + (channel ^ tile / VECTOR % KEYS)) * VECTOR + tile % VECTOR;

    i32 steps = (s.inputs + TILE_K - 1) / TILE_K;
    i32 weights = place.channel_tile * steps * W_VECTORS + threadIdx.x;
    CopyBatch<W_COPIES, STAGES == 2> copies;
    f32 values[PATCH][PATCH];
    auto begin_weights = [&](i32 step)
    {
        Stage &stage = memory.stages[step % STAGES];
        const float4 *from = (const float4 *)a.weights + (weights + step * W_VECTORS);
        asm volatile("" : "+l"(from));
#pragma unroll
        for (int i = 0; i < W_COPIES; i++) copies.begin(i, stage.weights + threadIdx.x + i * THREADS, from + i * THREADS);
        close_copies();
    };

    begin_weights(0);
    await_previous();
    if (loads)
    {
        load_patch(a, patch, channel, values);
        store_points(values, memory.stages[0].x + x_place);
    }
    copies.end();

    i32 point = threadIdx.x / (ACROSS * DOWN), down = threadIdx.x / ACROSS % DOWN, across = threadIdx.x % ACROSS;
    Fragments fragments = {(point * (TILES / VECTOR) + down) * TILE_K, point * TILE_K * N_VECTORS + across};
    // Else they would be computed anew for all products, and x's for each.
    asm volatile("" : "+r"(fragments.x), "+r"(fragments.weights));
    f32 sums[SIDE][SIDE] = {};
    for (i32 step = 0; step < steps; step++)
    {
        wait_for_copies<0>();
        __syncthreads();
        bool has_next = step + 1 < steps;
        Stage &next = memory.stages[(step + 1) % STAGES];
        if (has_next)
        {
            if (STAGES == 2) begin_weights(step + 1);
            if (loads) load_patch(a, patch, channel + (step + 1) * TILE_K, values);
        }
        multiply(memory.stages[step % STAGES], fragments, sums);
        if (STAGES == 1) __syncthreads();
        if (has_next)
        {
            if (STAGES == 1) begin_weights(step + 1);
            if (loads) store_points(values, next.x + x_place);
            copies.end();
        }
    }
    begin_next();

#pragma unroll 1
    for (int round = 0; round < SIDE / ROUND; round++)
    {
        __syncthreads();
#pragma unroll
        for (int m = 0; m < SIDE; m++)
        {
            if (m / ROUND != round) continue;
            float4 *row = memory.sums + (point * ROWS + m % ROUND * DOWN + down) * N_VECTORS;
            row[across ^ order_of(down)] = make_float4(sums[m][0], sums[m][1], sums[m][2], sums[m][3]);
            row[across + ACROSS ^ order_of(down)] = make_float4(sums[m][4], sums[m][5], sums[m][6], sums[m][7]);
        }
        __syncthreads();
        if (threadIdx.x >= FINISHERS) continue;
        place = place_of(a);
        i32 row = threadIdx.x / N_VECTORS, vector = threadIdx.x % N_VECTORS, m = round * ROUND + row / DOWN;
        i32 finished = m / VECTOR * (TILES / 2) + row % DOWN * VECTOR + m % VECTOR;
        finish_tile(
            a, memory.sums + row * N_VECTORS + (vector ^ order_of(row)), ROWS * N_VECTORS, place.image, place.row + finished / ACROSS_TILES * 2,
            place.column + finished % ACROSS_TILES * 2, place.channel_tile * TILE_N + vector * VECTOR);
    }
}
