// Dense convolution of 16-bit maps on tensor cores, as an implicit matrix product with fp32 sums:
//
//   y[p, o] = epilogue(sum over taps, i of x[pixel of p's tap, i] * w[o, tap, i])      kernel 1 or 3, stride 1 or 2, padding kernel / 2
//
// x, y and the residual are NHWC channel slices of one type, w is of that type in whole tiles of TILE_N x TILE_K (pack_weights.cu, TILES), bias is
// fp32. Epilogue: conv.cuh. y must overlap no x.
//
// Defines   ELEMENT  f16 or bf16
//           TILE_M, TILE_N  pixels and channels of y that a block makes
//           TILE_K   values of the sum that a step of the pipeline takes: channels of one tap, 32 or 64
//           STAGES   steps in flight
//           WARPS_M, WARPS_N  how warps divide the tile
//           SPLIT    how blocks share a tile's sum: NO_SPLIT, MEMORY_SPLIT or CLUSTER_SPLIT (split_k.cuh)
//           WGMMA    1: products of warpgroups, on sm_90a alone, with TILE_K 64; else undefined
//           ALIGNED  1 where x starts on 16 bytes, its pixel stride and channels are of whole 16 bytes; 0 for everything else
// Launch    grid splits of the sum x tiles of channels x tiles of pixels, the first fastest, so that blocks that share pixels run side by side;
//           block 32 * WARPS_M * WARPS_N; with CLUSTER_SPLIT clusters of a tile's blocks
// Shared    max(STAGES * (TILE_M + TILE_N) * TILE_K * 2, TILE_M * ((TILE_N + 8) * 4 + min(TILE_N, 64) * 2)) bytes, dynamic
//
// Pixels are counted through all images, so no size wastes more than one tile. The sum runs over TILE_K channels at a time, in them over taps: a
// step copies, for every pixel of the tile, these neighbouring channels of one tap, and a tap outside the map is copied as zeros. A thread
// keeps, for each pixel it copies, the address of the first tap and nine bits of which taps exist, so a step costs it one addition and one
// test a copy. A step's weights follow those of the step before, in the order in which they lie in shared memory, and cost neither. Rows of a stage lie in shared memory with their 16-byte vectors permuted by the row's number, so that ldmatrix reads eight
// rows from all 32 banks. Sums go through shared memory on their way out, because a lane holds pairs of channels but stores should be
// of 16 bytes; where pixels are not whole vectors but follow each other without a gap (19 class logits), the tile is packed to one run first.
//
// With warpgroups (wgmma.cuh) the tensor cores read both operands from there by themselves, in the same order of vectors, and work on a step while
// the next one is prepared.
//
// Where pixels and channels make too few tiles for the device, blocks share a tile's sum (split_k.cuh); these are variants of their own because
// their registers and code are not free. In a cluster each block ends with some of the tile's pixels.
//
// Bytes: x once a tap and tile of channels from L2 (once from memory), w once a tile of pixels from L2; y and residual once. Flops: 2 a
// value of the sum.
#include "conv.cuh"
#include "copy_batch.cuh"
#include "mma.cuh"
#include "overlap.cuh"
#include "split_k.cuh"
#include "warp_parts.cuh"
#if WGMMA
#include "wgmma.cuh"
#endif

constexpr int VECTOR = 8, THREADS = 32 * WARPS_M * WARPS_N;
constexpr int ROW_VECTORS = TILE_K / VECTOR, COPY_ROWS = THREADS / ROW_VECTORS;
constexpr int WARP_M = TILE_M / WARPS_M, WARP_N = TILE_N / WARPS_N, FRAGMENTS_M = WARP_M / 16, FRAGMENTS_N = WARP_N / 8;
constexpr int X_COPIES = TILE_M / COPY_ROWS, W_COPIES = TILE_N / COPY_ROWS;
constexpr int STAGE_VECTORS = (TILE_M + TILE_N) * ROW_VECTORS, PITCH = TILE_N + 8, MOST_PACKED = TILE_N < 64 ? TILE_N : 64;
static_assert(TILE_K == 32 || TILE_K == 64, "rows of 64 or 128 bytes");
#if WGMMA
static_assert(ALIGNED && TILE_K == 64 && FRAGMENTS_M == 1 && STAGES >= 3, "sixteen pixels a warp, and a stage that products still read");
#endif
static_assert(FRAGMENTS_M * 16 * WARPS_M == TILE_M && FRAGMENTS_N % 2 == 0 && FRAGMENTS_N * 8 * WARPS_N == TILE_N, "whole fragments");
static_assert(X_COPIES * COPY_ROWS == TILE_M && W_COPIES * COPY_ROWS == TILE_N && COPY_ROWS % 8 == 0, "whole rounds of copies");

#if ALIGNED && __CUDA_ARCH__ >= 800
constexpr bool X_ASYNC = true;
#else
constexpr bool X_ASYNC = false;
#endif
constexpr bool W_ASYNC =
#if __CUDA_ARCH__ >= 800
    true;
#else
    false;
#endif

struct Arguments
{
    const ELEMENT *x;
    const ELEMENT *weights;
    ConvShape shape;
    Epilogue<ELEMENT> epilogue;
    SplitWorkspace workspace;
    i32 channel_tiles, splits;
};

// The next step to copy.
struct Position
{
    i32 tap, channel;
};

struct Copies
{
    CopyBatch<X_COPIES, X_ASYNC> x;
    CopyBatch<W_COPIES, W_ASYNC> weights;
};

// `from` is this thread's first vector of the step; it moves on to the next one.
__device__ inline void begin_weights(const uint4 *&from, uint4 *stage, Copies &copies)
{
    uint4 *to = stage + TILE_M * ROW_VECTORS + threadIdx.x;
#pragma unroll
    for (int i = 0; i < W_COPIES; i++) copies.weights.begin(i, to + i * THREADS, from + i * THREADS);
    from += TILE_N * ROW_VECTORS;
}

__device__ inline void begin_x(const Arguments &a, const Window (&windows)[X_COPIES], const Position &next, uint4 *stage, Copies &copies)
{
    const ConvShape &s = a.shape;
    i32 vector = threadIdx.x % ROW_VECTORS, row = threadIdx.x / ROW_VECTORS, channel = next.channel + vector * VECTOR;
    uint4 *to = stage + row * ROW_VECTORS + (vector ^ row_key<ROW_VECTORS>(row));
    i64 offset = i64(next.tap / s.kernel * s.width + next.tap % s.kernel) * s.x_stride + channel;
#pragma unroll
    for (int i = 0; i < X_COPIES; i++)
    {
        bool is_valid = channel < s.inputs && (windows[i].taps >> next.tap & 1);
        const ELEMENT *from = is_valid ? a.x + windows[i].corner + offset : a.x;
#if ALIGNED
        copies.x.begin(i, to + i * COPY_ROWS * ROW_VECTORS, from, is_valid);
#else
        copies.x.begin_elements(i, to + i * COPY_ROWS * ROW_VECTORS, from, is_valid ? s.inputs - channel : 0);
#endif
    }
}

__device__ inline void advance(const Arguments &a, Position &next)
{
    if (++next.tap == a.shape.kernel * a.shape.kernel)
    {
        next.tap = 0;
        next.channel += TILE_K;
    }
}

#if WGMMA
// Starts products that the caller has to wait for.
__device__ inline void multiply(const uint4 *stage, f32 (&sums)[FRAGMENTS_M][FRAGMENTS_N][4])
{
    u64 x = matrix_at(shared_address(stage + part_m() / 4 * PRODUCT_ROWS * ROW_VECTORS));
    u64 weights = matrix_at(shared_address(stage + (TILE_M + part_n() * WARP_N) * ROW_VECTORS));
    begin_products();
#pragma unroll
    for (int k = 0; k < TILE_K / PRODUCT_DEPTH; k++)
        multiply_add_group<ELEMENT>((f32(&)[FRAGMENTS_N * 4])sums, advanced(x, k), advanced(weights, k));
    close_products();
}
#else
__device__ inline void multiply(const uint4 *stage, f32 (&sums)[FRAGMENTS_M][FRAGMENTS_N][4])
{
    i32 lane = threadIdx.x % 32;
    i32 x_row = part_m() * WARP_M + lane % 16, w_row = TILE_M + part_n() * WARP_N + lane % 8 + lane / 16 * 8;
    constexpr int ROW_BYTES = TILE_K * 2;
    u32 x_base = shared_address(stage + x_row * ROW_VECTORS), w_base = shared_address(stage + w_row * ROW_VECTORS);
    i32 x_vector = lane / 16 ^ row_key<ROW_VECTORS>(x_row), w_vector = lane / 8 % 2 ^ row_key<ROW_VECTORS>(w_row);
#pragma unroll
    for (int k = 0; k < ROW_VECTORS; k += 2)
    {
        u32 x[FRAGMENTS_M][4], w[FRAGMENTS_N / 2][4];
#pragma unroll
        for (int m = 0; m < FRAGMENTS_M; m++) load_matrices(x_base + m * 16 * ROW_BYTES + ((x_vector ^ k) << 4), x[m]);
#pragma unroll
        for (int n = 0; n < FRAGMENTS_N / 2; n++) load_matrices(w_base + n * 16 * ROW_BYTES + ((w_vector ^ k) << 4), w[n]);
#pragma unroll
        for (int m = 0; m < FRAGMENTS_M; m++)
        {
#pragma unroll
            for (int n = 0; n < FRAGMENTS_N; n++) multiply_add<ELEMENT>(sums[m][n], x[m], w[n / 2][n % 2 * 2], w[n / 2][n % 2 * 2 + 1]);
        }
    }
}
#endif

// From the lanes' pairs to rows of channels. A row's pitch of 8 words more than a multiple of 32 keeps the pairs of eight rows apart.
__device__ inline void stage_sums(const f32 (&sums)[FRAGMENTS_M][FRAGMENTS_N][4], f32 *staged)
{
    i32 lane = threadIdx.x % 32;
    f32 *corner = staged + (part_m() * WARP_M + lane / 4) * PITCH + part_n() * WARP_N + lane % 4 * 2;
#pragma unroll
    for (int m = 0; m < FRAGMENTS_M; m++)
    {
#pragma unroll
        for (int n = 0; n < FRAGMENTS_N; n++)
        {
            *(float2 *)(corner + m * 16 * PITCH + n * 8) = make_float2(sums[m][n][0], sums[m][n][1]);
            *(float2 *)(corner + (m * 16 + 8) * PITCH + n * 8) = make_float2(sums[m][n][2], sums[m][n][3]);
        }
    }
}

// Ends with `rows` pixels of the tile, from `first_row` on.
__device__ inline void finish_rows(const Arguments &a, const f32 *staged, i32 first_row, i32 rows, i32 first_pixel, i32 first_output)
{
    constexpr int ROW_OUTPUTS = TILE_N / VECTOR;
    if (a.epilogue.is_packed && a.channel_tiles == 1 && a.shape.outputs <= MOST_PACKED)
    {
        // They are one run, for instance of class logits.
        ELEMENT *run = (ELEMENT *)(staged + TILE_M * PITCH);
        i32 pixels = min(rows, a.shape.pixels - first_pixel - first_row);
        pack_run(a.epilogue, a.shape.outputs, staged + first_row * PITCH, PITCH, pixels, run, threadIdx.x / 32, THREADS / 32);
        __syncthreads();
        store_run(a.epilogue, a.shape.outputs, first_pixel + first_row, pixels, run, threadIdx.x, THREADS);
        return;
    }
    // Lanes 4 to 7 of eight read their second half first, so that the eight read from all banks.
    i32 half = threadIdx.x / 4 % 2 * 4;
#pragma unroll 2
    for (i32 item = threadIdx.x; item < rows * ROW_OUTPUTS; item += THREADS)
    {
        i32 row = first_row + item / ROW_OUTPUTS, channel = item % ROW_OUTPUTS * VECTOR;
        if (first_pixel + row >= a.shape.pixels || first_output + channel >= a.shape.outputs) continue;
        const f32 *from = staged + row * PITCH + channel;
        float4 first = *(const float4 *)(from + half), second = *(const float4 *)(from + (half ^ 4));
        float4 low = half ? second : first, high = half ? first : second;
        f32 values[VECTOR] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
        finish(a.epilogue, a.shape, first_pixel + row, first_output + channel, a.epilogue.is_vector, values);
    }
}

// Told nothing, the assembler spills to save registers that nobody needs; the largest tile alone must be held to two blocks a multiprocessor.
constexpr int LEAST_BLOCKS = TILE_M * TILE_N >= 128 * 128 && STAGES > 2 ? 2 : 1;

// Steps that are copied ahead, and where stages begin. With warpgroups the step before may still be read by its products, so that they follow
// each other without a gap.
#if WGMMA
constexpr int AHEAD = STAGES - 2, SHARED_ALIGNMENT = PATTERN_BYTES;
#else
constexpr int AHEAD = STAGES - 1, SHARED_ALIGNMENT = 16;
#endif

// Steps whose weights are on their way before the launch before this one has ended.
#if __CUDA_ARCH__ >= 900
constexpr int EARLY = AHEAD;
#else
constexpr int EARLY = 1;
#endif

extern "C" __global__ void __launch_bounds__(THREADS, LEAST_BLOCKS) conv_mma(KERNEL_ARGUMENTS(Arguments) a)
{
    extern __shared__ __align__(SHARED_ALIGNMENT) uint4 shared_memory[];
    i32 splits = SPLIT == NO_SPLIT ? 1 : a.splits, tile = i32(blockIdx.x) / splits, split = i32(blockIdx.x) % splits;
    i32 first_output = tile % a.channel_tiles * TILE_N, first_pixel = tile / a.channel_tiles * TILE_M;

    Window windows[X_COPIES];
#pragma unroll
    for (int i = 0; i < X_COPIES; i++) windows[i] = window_of(a.shape, first_pixel + i32(threadIdx.x) / ROW_VECTORS + i * COPY_ROWS);

    i32 taps = a.shape.kernel * a.shape.kernel, all_steps = (a.shape.inputs + TILE_K - 1) / TILE_K * taps;
    i32 first_step = split * all_steps / splits, steps = (split + 1) * all_steps / splits - first_step;
    Position next = {first_step % taps, first_step / taps * TILE_K};
    const uint4 *weights = (const uint4 *)a.weights
        + (i64(tile % a.channel_tiles) * all_steps + first_step) * (TILE_N * ROW_VECTORS) + threadIdx.x;

    Copies copies;
#pragma unroll
    for (int i = 0; i < EARLY; i++)
    {
        if (i == 0 || i < steps) begin_weights(weights, shared_memory + i * STAGE_VECTORS, copies);
    }
    await_previous();
#pragma unroll
    for (int i = 0; i < AHEAD; i++)
    {
        if (i == 0 || i < steps)
        {
            uint4 *stage = shared_memory + i * STAGE_VECTORS;
            if (i >= EARLY) begin_weights(weights, stage, copies);
            begin_x(a, windows, next, stage, copies);
            advance(a, next);
            copies.x.end();
            copies.weights.end();
        }
        close_copies();
    }

    f32 sums[FRAGMENTS_M][FRAGMENTS_N][4] = {};
    i32 reading = 0, writing = AHEAD;
    auto copy_next = [&]() {
        uint4 *stage = shared_memory + writing * STAGE_VECTORS;
        begin_x(a, windows, next, stage, copies);
        begin_weights(weights, stage, copies);
        advance(a, next);
    };
#if WGMMA
    hold((f32(&)[FRAGMENTS_N * 4])sums);
#endif
    i32 step = 0;
    // Every block has a step. A way around the products to the wait for them would make the assembler run them one after the other.
#pragma unroll 1
    do
    {
        wait_for_copies<AHEAD - 1>();
        bool has_next = step + AHEAD < steps;
        const uint4 *stage = shared_memory + reading * STAGE_VECTORS;
#if WGMMA
        publish_to_products();
        wait_for_products<1>();
        __syncthreads();
        multiply(stage, sums);
        if (has_next) copy_next();
        close_copies();
#else
        __syncthreads();
        if (has_next) copy_next();
        close_copies();
        multiply(stage, sums);
        if (has_next)
        {
            copies.x.end();
            copies.weights.end();
        }
#endif
        reading = reading == STAGES - 1 ? 0 : reading + 1;
        writing = writing == STAGES - 1 ? 0 : writing + 1;
    } while (++step < steps);
#if WGMMA
    wait_for_products<0>();
    hold((f32(&)[FRAGMENTS_N * 4])sums);
#endif
    wait_for_copies<0>();
    begin_next();

#if SPLIT == MEMORY_SPLIT
    constexpr int SUMS = FRAGMENTS_M * FRAGMENTS_N * 4;
    if (!join_in_memory<THREADS, SUMS>(a.workspace, tile, split, splits, (f32(&)[SUMS])sums)) return;
#endif
    __syncthreads();
    f32 *staged = (f32 *)shared_memory;
    stage_sums(sums, staged);
#if SPLIT == CLUSTER_SPLIT
    begin_meeting();
    end_meeting();
    // In eights: eight packed pixels are whole vectors.
    Share rows = share_of<8>(split, splits, TILE_M);
    // Nobody else reads the sums of these pixels here, so they are joined in their place.
    join_in_cluster<THREADS, TILE_N>(staged + rows.first * PITCH, PITCH, rows.count, splits);
    begin_meeting();
    __syncthreads();
    finish_rows(a, staged, rows.first, rows.count, first_pixel, first_output);
    // The others may still be reading this block's sums.
    end_meeting();
#else
    __syncthreads();
    finish_rows(a, staged, 0, TILE_M, first_pixel, first_output);
#endif
}
