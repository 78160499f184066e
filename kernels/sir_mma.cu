// The Simple Inverted Residual of the paper in one launch, on tensor cores with fp32 sums; also the decoder with its classifier:
//
//   m[p, j] = max(0, bias[j] + sum over ky, kx, i of x[S row - 1 + ky, S column - 1 + kx, i] * w[j, ky, kx, i])        3x3, stride S
//   y[p, o] = epilogue(sum over j of m[p, j] * v[o, j])                                                                1x1
//
// x, y and the residual (the shortcut) are NHWC channel slices of one type, w is of that type in whole tiles of MIDDLE x 64, v in whole tiles of
// 64 x 64, of which MIDDLE / 64 make a step (pack_weights.cu, TILES), biases are fp32. m is rounded to the maps' type, as if it were stored, but it exists only in shared memory:
// its 3 c channels would otherwise be six times the bytes of x and y, and a launch. y must overlap no x, but the residual may be x.
//
// Defines   ELEMENT   f16 or bf16
//           HALOS     1: up to 64 inputs; 2: any number, 64 at a time
//           MIDDLE    channels of m at a time, 64, 128 or 192
//           OUTPUTS   the most outputs, 64 or 128
//           STRIDE    1 or 2
//           STAGES    tiles of weights, on their way or being read
//           BORDER    1: bias is [16][middle], a row for each set of taps that lie inside the map
//           WGMMA     1: products of warpgroups, on sm_90a alone; else undefined
//           CLUSTER   with WGMMA, blocks that fetch weights together, 1 or 2
// Launch    grid (tiles of 8x8 pixels of y, 1, n), block 256; with WGMMA as many more blocks as make whole clusters
// Shared    (HALOS * HALO + MIDDLE * STAGES + MIDDLE) * 128 bytes with HALO = (8 S + 3 - S)^2, with WGMMA 16 * STAGES more, dynamic
// Requires  sm_80; x on 16 bytes with channels and pixel stride of whole 16 bytes
//
// A block copies its input with halo 64 channels at a time, and streams weights: a step is a tile of MIDDLE rows of 64 values. For 64 channels
// and each tap the rows are channels of m; when all are summed, m goes to shared memory, and the next steps' rows are 64 outputs of MIDDLE / 64
// times 64 values of v. Where m has more than MIDDLE channels that repeats, and y's sums stay in registers.
//
// The fragment of m that a warp holds could be the operand of its next product as it stands (mma.cuh). But the eight warps share the MIDDLE
// channels of m (each has 32 pixels of a quarter), so each could only make a part of y's sums, and adding four of those up takes 64 KiB of fp32
// through shared memory where passing m on takes at most 24 KiB of 16 bits. Warps that each held all of m for 16 pixels would read every weight
// eight times from shared memory instead of twice, and weights are what this kernel mostly reads.
//
// With warpgroups (wgmma.cuh) the tensor cores read weights and m from shared memory by themselves, so each of the two groups makes half of m's
// channels for all pixels. The fragments of x still come by ldmatrix, because a tap's rows begin anywhere in a pattern of eight. Weights come by
// bulk copies (bulk_copy.cuh) that one thread starts, each block of a cluster a part of a step's tile for all of them, because they are most of what
// the kernel asks of the L2. A stage's barriers say that its weights are there, and that all warps of the cluster have done with it; so warps
// wait for each other only where m or a halo passes between them, but for the one that starts the copies, which waits for a free stage.
//
// Rows of 64 values keep their vectors in the order vector ^ key, the key being the row's number, or, for the input, that of the halo's pixel
// divided by S: the eight pixels of a fragment's row are S apart.
//
// y is stored in whole vectors of a pixel where it has them. Class logits (19 channels) have not; but where pixels follow each other without
// a gap, eight of them are whole vectors whatever their channels, and a tile's row is stored by such.
//
// Bytes: x once plus 56 % of halo (again for each further MIDDLE channels where HALOS is 2), weights once a tile of pixels from L2; residual
// and y once. Flops: 2 * (9 inputs + outputs) * middle a pixel.
#include "conv.cuh"
#include "copy_batch.cuh"
#include "mma.cuh"
#include "overlap.cuh"
#if WGMMA
#include "bulk_copy.cuh"
#include "wgmma.cuh"
#endif

#if WGMMA
// Two warpgroups, each with all pixels and half of the channels. Weights and m are whole patterns of their operands.
constexpr int WARPS_M = 4, WARPS_N = 2, SHARED_ALIGNMENT = PATTERN_BYTES;
#else
constexpr int WARPS_M = 2, WARPS_N = 4, SHARED_ALIGNMENT = 16;
#endif
#include "warp_parts.cuh"

constexpr int VECTOR = 8, ROW = 64, ROW_VECTORS = ROW / VECTOR, THREADS = 256;
constexpr int SIDE = 8, PIXELS = SIDE * SIDE, HALO_SIDE = SIDE * STRIDE + 3 - STRIDE, HALO = HALO_SIDE * HALO_SIDE;
constexpr int TAPS = 9, OUTPUT_STEPS = OUTPUTS / ROW, HALO_VECTORS = HALO * ROW_VECTORS;
constexpr int FRAGMENTS_M = PIXELS / WARPS_M / 16, FRAGMENTS_N = MIDDLE / WARPS_N / 8, OUTPUT_FRAGMENTS = ROW / WARPS_N / 8;
constexpr int COPY_ROWS = THREADS / ROW_VECTORS, W_COPIES = MIDDLE / COPY_ROWS, STAGE_VECTORS = MIDDLE * ROW_VECTORS;
constexpr int STAGED_PITCH = OUTPUTS + 8;
static_assert(PIXELS * (STAGED_PITCH * 4 + OUTPUTS * 2) <= STAGES * STAGE_VECTORS * 16, "sums and packed pixels fit in the weights' place");

struct Arguments
{
    const ELEMENT *x;
    const ELEMENT *weights;
    const f32 *bias;
    const ELEMENT *project;
    // Of y, with the inputs of x.
    ConvShape shape;
    Epilogue<ELEMENT> epilogue;
    i32 middle, tiles_across;
};

// The next step to copy. Steps of a pass: 64 inputs and a tap each, then 64 outputs each.
struct Position
{
    i32 pass, step;
};

__device__ inline i32 tap_steps_of(const Arguments &a)
{
    return HALOS == 1 ? TAPS : (a.shape.inputs + ROW - 1) / ROW * TAPS;
}

__device__ inline i32 halo_key(i32 pixel)
{
    return pixel / STRIDE & 7;
}

// [pixel][64], zero outside the map and the channels.
__device__ inline void begin_halo(const Arguments &a, i32 first_row, i32 first_column, i32 first_channel, uint4 *halo)
{
    CopyBatch<1, true> copy;
    const ConvShape &s = a.shape;
    i32 vector = threadIdx.x % ROW_VECTORS, channel = first_channel + vector * VECTOR;
    const ELEMENT *image = a.x + i64(blockIdx.z) * s.height * s.width * s.x_stride;
    for (i32 pixel = threadIdx.x / ROW_VECTORS; pixel < HALO; pixel += COPY_ROWS)
    {
        i32 y = first_row + pixel / HALO_SIDE, x = first_column + pixel % HALO_SIDE;
        bool is_valid = y >= 0 && y < s.height && x >= 0 && x < s.width && channel < s.inputs;
        const ELEMENT *from = image + (i64(y) * s.width + x) * s.x_stride + channel;
        copy.begin(0, halo + pixel * ROW_VECTORS + (vector ^ halo_key(pixel)), is_valid ? from : a.x, is_valid);
    }
}

// Where the weights of a step begin.
__device__ inline const uint4 *weights_of(const Arguments &a, const Position &next, i32 tap_steps, i32 passes)
{
    bool is_tap = next.step < tap_steps;
    // Steps of outputs that do not exist repeat the last ones' weights.
    i32 outputs = OUTPUT_STEPS == 1 ? 0 : min(next.step - tap_steps, (a.shape.outputs - 1) / ROW);
    i32 index = is_tap ? next.pass * tap_steps + next.step : outputs * passes + next.pass;
    return (const uint4 *)(is_tap ? a.weights : a.project) + index * STAGE_VECTORS;
}

__device__ inline void begin_weights(const uint4 *from, uint4 *stage)
{
    CopyBatch<W_COPIES, true> copies;
#pragma unroll
    for (int i = 0; i < W_COPIES; i++) copies.begin(i, stage + threadIdx.x + i * THREADS, from + threadIdx.x + i * THREADS);
}

// The fragments of x at a tap: lanes' rows of the halo, and the keys of their vectors.
__device__ inline void locate_halo(const uint4 *halo, i32 tap, u32 (&bases)[FRAGMENTS_M], i32 (&keys)[FRAGMENTS_M])
{
    i32 lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < FRAGMENTS_M; m++)
    {
        i32 pixel = part_m() * (PIXELS / WARPS_M) + m * 16 + lane % 16;
        i32 place = (pixel / SIDE * STRIDE + tap / 3) * HALO_SIDE + pixel % SIDE * STRIDE + tap % 3;
        bases[m] = shared_address(halo + place * ROW_VECTORS);
        keys[m] = halo_key(place) ^ lane / 16;
    }
}

#if WGMMA
// A tap's fragments of x.
using Fragments = u32[ROW / PRODUCT_DEPTH][4];

// Each ends with products under way, which read x meanwhile.
__device__ inline void add_tap(const uint4 *halo, const uint4 *stage, i32 tap, Fragments &x, f32 (&sums)[FRAGMENTS_M][FRAGMENTS_N][4])
{
    u32 bases[FRAGMENTS_M];
    i32 keys[FRAGMENTS_M];
    locate_halo(halo, tap, bases, keys);
#pragma unroll
    for (int k = 0; k < ROW / PRODUCT_DEPTH; k++) load_matrices(bases[0] + ((keys[0] ^ k * 2) << 4), x[k]);
    u64 weights = matrix_at(shared_address(stage + part_n() * (MIDDLE / WARPS_N) * ROW_VECTORS));
    begin_products();
#pragma unroll
    for (int k = 0; k < ROW / PRODUCT_DEPTH; k++) multiply_add_group<ELEMENT>((f32(&)[FRAGMENTS_N * 4])sums, x[k], advanced(weights, k));
    close_products();
}

__device__ inline void add_projection(const uint4 *middle, const uint4 *stage, f32 (&sums)[FRAGMENTS_M][OUTPUT_FRAGMENTS][4])
{
    u64 weights = matrix_at(shared_address(stage + part_n() * (ROW / WARPS_N) * ROW_VECTORS)), values = matrix_at(shared_address(middle));
    constexpr int PART_STEP = PIXELS * ROW_VECTORS;
    static_assert(PIXELS == ROW, "a part of m and a part of its weights take the same room");
    hold((f32(&)[OUTPUT_FRAGMENTS * 4])sums);
    begin_products();
#pragma unroll
    for (int part = 0; part < MIDDLE / ROW; part++)
    {
#pragma unroll
        for (int k = 0; k < ROW / PRODUCT_DEPTH; k++)
        {
            multiply_add_group<ELEMENT>(
                (f32(&)[OUTPUT_FRAGMENTS * 4])sums, advanced(values + part * PART_STEP, k), advanced(weights + part * PART_STEP, k));
        }
    }
    close_products();
}
#else
// Pairs of this warp's weights: 16 rows from `row` on, 16 values from vector `k` on.
__device__ inline void load_weights(const uint4 *stage, i32 row, i32 k, u32 (&w)[4])
{
    i32 lane = threadIdx.x % 32, own = row + lane % 8 + lane / 16 * 8;
    load_matrices(shared_address(stage + own * ROW_VECTORS + ((k + lane / 8 % 2) ^ row_key<ROW_VECTORS>(own))), w);
}

__device__ inline void add_tap(const uint4 *halo, const uint4 *stage, i32 tap, f32 (&sums)[FRAGMENTS_M][FRAGMENTS_N][4])
{
    u32 bases[FRAGMENTS_M];
    i32 keys[FRAGMENTS_M];
    locate_halo(halo, tap, bases, keys);
#pragma unroll
    for (int k = 0; k < ROW_VECTORS; k += 2)
    {
        u32 x[FRAGMENTS_M][4], w[FRAGMENTS_N / 2][4];
#pragma unroll
        for (int m = 0; m < FRAGMENTS_M; m++) load_matrices(bases[m] + ((keys[m] ^ k) << 4), x[m]);
#pragma unroll
        for (int n = 0; n < FRAGMENTS_N / 2; n++) load_weights(stage, part_n() * (MIDDLE / WARPS_N) + n * 16, k, w[n]);
#pragma unroll
        for (int m = 0; m < FRAGMENTS_M; m++)
        {
#pragma unroll
            for (int n = 0; n < FRAGMENTS_N; n++) multiply_add<ELEMENT>(sums[m][n], x[m], w[n / 2][n % 2 * 2], w[n / 2][n % 2 * 2 + 1]);
        }
    }
}

__device__ inline void add_projection(const uint4 *middle, const uint4 *stage, f32 (&sums)[FRAGMENTS_M][OUTPUT_FRAGMENTS][4])
{
    i32 lane = threadIdx.x % 32, first = part_m() * (PIXELS / WARPS_M) + lane % 16;
#pragma unroll
    for (int part = 0; part < MIDDLE / ROW; part++)
    {
#pragma unroll
        for (int k = 0; k < ROW_VECTORS; k += 2)
        {
            u32 x[FRAGMENTS_M][4], w[4];
            load_weights(stage, part * ROW + part_n() * (ROW / WARPS_N), k, w);
#pragma unroll
            for (int m = 0; m < FRAGMENTS_M; m++)
            {
                i32 pixel = first + m * 16;
                load_matrices(
                    shared_address(middle + (part * PIXELS + pixel) * ROW_VECTORS + ((k + lane / 16) ^ row_key<ROW_VECTORS>(pixel))), x[m]);
                multiply_add<ELEMENT>(sums[m][0], x[m], w[0], w[1]);
                multiply_add<ELEMENT>(sums[m][1], x[m], w[2], w[3]);
            }
        }
    }
}
#endif

// Where a fragment's row lies in the tile.
__device__ inline i32 pixel_of(i32 m, i32 half, i32 lane)
{
    return part_m() * (PIXELS / WARPS_M) + m * 16 + half * 8 + lane / 4;
}

// To [part][pixel][64], and the sums to zero.
__device__ inline void store_middle(
    const Arguments &a, i32 pass, i32 first_row, i32 first_column, f32 (&sums)[FRAGMENTS_M][FRAGMENTS_N][4], uint4 *middle)
{
    i32 lane = threadIdx.x % 32;
    auto bias_of = [&](i32 row, i32 channel) { return a.bias && channel < a.middle ? load_one(a.bias + row * a.middle + channel) : 0; };
#pragma unroll
    for (int n = 0; n < FRAGMENTS_N; n++)
    {
        i32 own = part_n() * (MIDDLE / WARPS_N) + n * 8, channel = pass * MIDDLE + own + lane % 4 * 2;
#if !BORDER
        f32 first = bias_of(0, channel), second = bias_of(0, channel + 1);
#endif
#pragma unroll
        for (int m = 0; m < FRAGMENTS_M; m++)
        {
#pragma unroll
            for (int half = 0; half < 2; half++)
            {
                i32 pixel = pixel_of(m, half, lane);
#if BORDER
                i32 line = border_case(first_row + pixel / SIDE, a.shape.out_height);
                i32 bias_row = line * 4 + border_case(first_column + pixel % SIDE, a.shape.out_width);
                f32 first = bias_of(bias_row, channel), second = bias_of(bias_row, channel + 1);
#endif
                i32 vector = (own / ROW * PIXELS + pixel) * ROW_VECTORS + (own % ROW / VECTOR ^ row_key<ROW_VECTORS>(pixel));
                ((u32 *)(middle + vector))[lane % 4] =
                    narrow_pair<ELEMENT>(rectified(sums[m][n][half * 2] + first), rectified(sums[m][n][half * 2 + 1] + second));
                sums[m][n][half * 2] = sums[m][n][half * 2 + 1] = 0;
            }
        }
    }
}

__device__ inline void stage_sums(const f32 (&sums)[OUTPUT_STEPS][FRAGMENTS_M][OUTPUT_FRAGMENTS][4], f32 *staged)
{
    i32 lane = threadIdx.x % 32;
    f32 *corner = staged + (part_m() * (PIXELS / WARPS_M) + lane / 4) * STAGED_PITCH + part_n() * (ROW / WARPS_N) + lane % 4 * 2;
#pragma unroll
    for (int step = 0; step < OUTPUT_STEPS; step++)
    {
#pragma unroll
        for (int m = 0; m < FRAGMENTS_M; m++)
        {
#pragma unroll
            for (int n = 0; n < OUTPUT_FRAGMENTS; n++)
            {
                f32 *to = corner + m * 16 * STAGED_PITCH + step * ROW + n * 8;
                *(float2 *)to = make_float2(sums[step][m][n][0], sums[step][m][n][1]);
                *(float2 *)(to + 8 * STAGED_PITCH) = make_float2(sums[step][m][n][2], sums[step][m][n][3]);
            }
        }
    }
}

// Whole vectors of a pixel.
__device__ inline void store_pixels(const Arguments &a, const f32 *staged, i32 first_row, i32 first_column)
{
    const ConvShape &s = a.shape;
    // Lanes 4 to 7 of eight read their second half first, so that the eight read from all banks.
    i32 half = threadIdx.x / 4 % 2 * 4;
    for (i32 item = threadIdx.x; item < PIXELS * (OUTPUTS / VECTOR); item += THREADS)
    {
        i32 pixel = item / (OUTPUTS / VECTOR), channel = item % (OUTPUTS / VECTOR) * VECTOR;
        i32 row = first_row + pixel / SIDE, column = first_column + pixel % SIDE;
        if (row >= s.out_height || column >= s.out_width || channel >= s.outputs) continue;
        const f32 *from = staged + pixel * STAGED_PITCH + channel;
        float4 first = *(const float4 *)(from + half), second = *(const float4 *)(from + (half ^ 4));
        float4 low = half ? second : first, high = half ? first : second;
        f32 values[VECTOR] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
        finish(a.epilogue, s, (i32(blockIdx.z) * s.out_height + row) * s.out_width + column, channel, a.epilogue.is_vector, values);
    }
}

// Where a block has a multiprocessor to itself there is room for more stages and registers: a tap's fragments of x are loaded while the tap before
// is multiplied, the nine taps unrolled.
#if WGMMA
constexpr bool PIPELINED = STAGES > 3;
#else
constexpr bool PIPELINED = false;
#endif
constexpr int LEAD = PIPELINED ? STAGES - 2 : STAGES - 1, TAPS_AT_ONCE = PIPELINED ? TAPS : 1;

// y's sums beside those of m are sixteen registers too many for two blocks of warpgroups: then m is at most MIDDLE channels.
#if WGMMA
constexpr bool HAS_PASSES = HALOS > 1;
#else
constexpr bool HAS_PASSES = true;
#endif

// Two blocks, where shared memory and the products' registers leave room for them: not with more stages, which are for grids that have a block a
// multiprocessor anyway.
#if __CUDA_ARCH__ >= 900
constexpr int LEAST_BLOCKS = HALOS == 1 && STAGES <= 3 && STRIDE == 1 ? 2 : 1;
#else
constexpr int LEAST_BLOCKS = 1;
#endif

#if WGMMA && CLUSTER > 1
#define CLUSTER_SIZE __cluster_dims__(CLUSTER, 1, 1)
#else
#define CLUSTER_SIZE
#endif

extern "C" __global__ void CLUSTER_SIZE __launch_bounds__(THREADS, LEAST_BLOCKS) sir_mma(KERNEL_ARGUMENTS(Arguments) a)
{
    extern __shared__ __align__(SHARED_ALIGNMENT) uint4 shared_memory[];
    uint4 *weights = shared_memory, *middle = weights + STAGES * STAGE_VECTORS, *halos = middle + MIDDLE * ROW_VECTORS;
    const ConvShape &s = a.shape;
    i32 first_row = i32(blockIdx.x) / a.tiles_across * SIDE, first_column = i32(blockIdx.x) % a.tiles_across * SIDE;
    i32 passes = HAS_PASSES ? (a.middle + MIDDLE - 1) / MIDDLE : 1;
    i32 tap_steps = tap_steps_of(a), pass_steps = tap_steps + OUTPUT_STEPS, steps = passes * pass_steps;

    f32 sums[FRAGMENTS_M][FRAGMENTS_N][4] = {}, outputs[OUTPUT_STEPS][FRAGMENTS_M][OUTPUT_FRAGMENTS][4] = {};
    Position next = {};
    auto advance = [&]() {
        if (++next.step == pass_steps && HAS_PASSES)
        {
            next.step = 0;
            next.pass++;
        }
    };
    auto copy_halo = [&](i32 chunk, i32 halo) {
        begin_halo(a, first_row * STRIDE - 1, first_column * STRIDE - 1, chunk * ROW, halos + halo * HALO_VECTORS);
    };
    i32 reading = 0, writing = LEAD, halo = 0;

#if WGMMA
    constexpr u32 PART_VECTORS = STAGE_VECTORS / CLUSTER;
    u64 *filled = (u64 *)(halos + HALOS * HALO_VECTORS), *freed = filled + STAGES;
    i32 rank = i32(blockIdx.x) % CLUSTER, lane = threadIdx.x % 32;
    i32 freeing = 0;
    u32 reading_parity = 0, writing_parity = 1;
    bool holds = false;
    Fragments x[PIPELINED ? 2 : 1];
    if (threadIdx.x == 0)
    {
#pragma unroll
        for (int i = 0; i < STAGES; i++)
        {
            make_barrier(filled + i, 1);
            make_barrier(freed + i, CLUSTER * (THREADS / 32));
        }
        publish_barriers();
    }
    begin_meeting();
    end_meeting();
    // By one thread: its block's part of the next step's weights, to all blocks of the cluster.
    auto fill = [&](i32 stage) {
        expect_bytes(filled + stage, STAGE_VECTORS * 16);
        copy_to_cluster<CLUSTER>(
            weights + stage * STAGE_VECTORS + rank * PART_VECTORS, behind(weights_of(a, next, tap_steps, passes), rank * PART_VECTORS), PART_VECTORS * 16,
            filled + stage);
    };
#pragma unroll
    for (int i = 0; i < LEAD; i++)
    {
        if (threadIdx.x == 0) fill(i);
        advance();
    }
    await_previous();
    copy_halo(0, 0);
    close_copies();

    // Every halo is awaited by all, who have then read the one before.
    auto open_chunk = [&](i32 chunk, bool is_last) {
        wait_for_copies<0>();
        __syncthreads();
        if (HALOS > 1 && !is_last) copy_halo((chunk + 1) % (tap_steps / TAPS), 1 - halo);
        close_copies();
    };
    auto open_step = [&](i32) {
        wait_for_phase(filled + reading, reading_parity);
        return weights + reading * STAGE_VECTORS;
    };
    // Weights of a later step go to where an earlier one has read, whose products have ended.
    auto fill_next = [&](i32 step) {
        if (threadIdx.x == 0 && step + LEAD < steps)
        {
            wait_for_phase(freed + writing, writing_parity);
            fill(writing);
        }
        __syncwarp();
        advance();
        if (++writing == STAGES) writing = 0, writing_parity ^= 1;
    };
    auto free_stage = [&]() {
        __syncwarp();
        if (lane < CLUSTER) arrive_at(freed + freeing, lane);
        if (++freeing == STAGES) freeing = 0;
    };
    auto close_step = [&](i32 step, bool keeps_last) {
        fill_next(step);
        if (++reading == STAGES) reading = 0, reading_parity ^= 1;
        // keeps_last: the step before has ended, this one's products go on beside the next fragments.
        if (keeps_last) wait_for_products<1>();
        else wait_for_products<0>();
        if (holds) free_stage();
        if (!keeps_last) free_stage();
        holds = keeps_last;
    };
    auto multiply_tap = [&](i32 tap, const uint4 *stage) {
        add_tap(halos + halo * HALO_VECTORS, stage, tap, x[PIPELINED ? tap % 2 : 0], sums);
    };
    auto pass_middle_on = [&]() {
        publish_to_products();
        __syncthreads();
    };
#else
    i32 next_halo = 0;
    auto begin = [&](uint4 *stage, bool is_first) {
        begin_weights(weights_of(a, next, tap_steps, passes), stage);
        if (is_first) await_previous();
        // A halo's place was last read at least a tap's step before.
        if (is_first || (HALOS > 1 && next.step < tap_steps && next.step % TAPS == 0))
        {
            copy_halo(next.step / TAPS, next_halo);
            next_halo = HALOS - 1 - next_halo;
        }
        advance();
    };
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++)
    {
        if (i == 0 || i < steps) begin(weights + i * STAGE_VECTORS, i == 0);
        close_copies();
    }

    auto open_chunk = [&](i32, bool) {};
    // Copies of a later step go to where the step before has read.
    auto open_step = [&](i32 step) {
        wait_for_copies<STAGES - 2>();
        __syncthreads();
        const uint4 *stage = weights + reading * STAGE_VECTORS;
        if (step + STAGES - 1 < steps) begin(weights + writing * STAGE_VECTORS, false);
        close_copies();
        reading = reading == STAGES - 1 ? 0 : reading + 1;
        writing = writing == STAGES - 1 ? 0 : writing + 1;
        return stage;
    };
    auto close_step = [&](i32, bool) {};
    auto multiply_tap = [&](i32 tap, const uint4 *stage) { add_tap(halos + halo * HALO_VECTORS, stage, tap, sums); };
    // The next step's barrier does.
    auto pass_middle_on = [&]() {};
#endif
    for (i32 step = 0, pass = 0; pass < passes; pass++)
    {
        i32 chunk = 0;
#if WGMMA
        hold((f32(&)[FRAGMENTS_N * 4])sums);
#endif
        for (i32 end = step + tap_steps; step < end; chunk++)
        {
            open_chunk(chunk, pass == passes - 1 && step + TAPS == end);
#pragma unroll TAPS_AT_ONCE
            for (i32 tap = 0; tap < TAPS; tap++, step++)
            {
                const uint4 *stage = open_step(step);
                multiply_tap(tap, stage);
                close_step(step, PIPELINED && tap < TAPS - 1);
            }
            halo = HALOS - 1 - halo;
        }
#if WGMMA
        hold((f32(&)[FRAGMENTS_N * 4])sums);
#endif
        store_middle(a, pass, first_row, first_column, sums, middle);
        pass_middle_on();
#pragma unroll
        for (int i = 0; i < OUTPUT_STEPS; i++, step++)
        {
            const uint4 *stage = open_step(step);
            add_projection(middle, stage, outputs[i]);
            close_step(step, false);
#if WGMMA
            hold((f32(&)[OUTPUT_FRAGMENTS * 4])outputs[i]);
#endif
        }
    }
#if WGMMA
    // What other blocks still do here is free their stages.
    begin_meeting();
#endif
    wait_for_copies<0>();
    begin_next();
    __syncthreads();

    f32 *staged = (f32 *)weights;
    stage_sums(outputs, staged);
    __syncthreads();
    if (a.epilogue.is_packed && s.out_width % SIDE == 0)
    {
        // A warp stores a row of eight pixels.
        i32 in_row = threadIdx.x % 32, line = threadIdx.x / 32, row = first_row + line;
        ELEMENT *run = (ELEMENT *)(staged + PIXELS * STAGED_PITCH) + line * SIDE * OUTPUTS;
        pack_run(a.epilogue, s.outputs, staged + line * SIDE * STAGED_PITCH, STAGED_PITCH, SIDE, run, 0, 1);
        __syncwarp();
        i64 first_pixel = (i64(blockIdx.z) * s.out_height + row) * s.out_width + first_column;
        if (row < s.out_height) store_run(a.epilogue, s.outputs, first_pixel, SIDE, run, in_row, 32);
    }
    else
    {
        store_pixels(a, staged, first_row, first_column);
    }
#if WGMMA
    end_meeting();
#endif
}
