// Depth-wise 3x3 convolution, all dilated branches of a DWR module in one launch.
//
//   y[n, r, k, o] = act(bias[o] + sum over ky, kx of w[ky, kx, o] * x[n, r + (ky-1)*d, k + (kx-1)*d, o / m]),   o < inputs * m
//
// for every branch with its own x, y (NHWC channel slices: a pointer to the first channel and a pixel stride), dilation d, channel
// multiplier m, fp32 weights [9][outputs] (a BN's scale folded in) and fp32 bias [outputs] or null. Outside the map x is zero; act is
// ReLU or nothing. Sums are fp32. y must overlap no x.
//
// Defines   ELEMENT  f32, f16 or bf16: how x and y are stored
//           TILE_H, TILE_W  pixels of y that a block makes
//           ALIGNED  1 where every slice starts on 16 bytes and has pixels of whole 16 bytes, x's channels come in whole 16 bytes, and
//                    weights and bias start on 16 bytes; 0 for everything else
// Launch    grid (tiles of the map, chunks of all branches, n), block THREADS = 128. A chunk is 32 bytes of a branch's input channels
//           (16 in fp16): a whole sector, and no more, so that small maps still give every multiprocessor a block.
// Shared    (TILE_H + 2*min(d, TILE_H)) * (TILE_W + 2*min(d, TILE_W)) * 32 bytes, dynamic, for the largest d of the launch.
//
// The block copies its chunk of the tile and its halo to shared memory once, every copy in flight at the same time, then each thread makes
// 16 bytes of output channels at TILE_H*TILE_W*2*m/128 pixels. Where d exceeds the tile, only the three bands of rows (columns) that a
// tap can reach are copied, so any dilation fits. A tap reads 16 bytes of a pixel (8 where m = 2); lanes go over a pixel's channels, then
// over a row's pixels, so a warp reads consecutive shared memory without conflict whatever d is. Taps are the outer loop: nine weights of
// eight channels would fill 72 registers, one tap's weights serve all of a thread's pixels.
//
// Bytes: x once per block tile plus halo, y once; weights 36 bytes an output channel (from L1). Flops: 18 an output element.
// Not aligned, or with a multiplier above 2, the same tile is read and written element by element.
#include "async_copy.cuh"
#include "overlap.cuh"

constexpr int THREADS = 128, CHUNK_VECTORS = 2, MAX_BRANCHES = 8, VECTOR = 16 / int(sizeof(ELEMENT)), CHUNK = CHUNK_VECTORS * VECTOR;

struct Branch
{
    const ELEMENT *x;
    ELEMENT *y;
    const f32 *weights;
    const f32 *bias;
    i32 x_stride, y_stride;
    i32 inputs, multiplier, dilation;
    i32 first_chunk;
};

struct Arguments
{
    Branch branches[MAX_BRANCHES];
    i32 count, height, width, tiles_across, relu;
};

struct Tile
{
    i32 first_row, first_column, row_step, column_step, columns;
};

// Where in the map the tile's row or column `index` comes from: bands of `step` lie `dilation` apart, the last one may be longer.
__device__ inline i32 source_of(i32 index, i32 first, i32 step, i32 dilation)
{
    i32 band = (index >= step) + (index >= 2 * step);
    return first + (band - 1) * dilation + index - band * step;
}

__device__ inline void fill_tile(
    const Arguments &a, const Branch &b, const Tile &t, const ELEMENT *image, i32 first_channel, uint4 *tile)
{
    constexpr int LANES = 32;
    i32 rows = TILE_H + 2 * t.row_step, cells = t.columns * CHUNK_VECTORS;
    for (i32 row = threadIdx.x / LANES; row < rows; row += THREADS / LANES)
    {
        i32 y = source_of(row, t.first_row, t.row_step, b.dilation);
        bool row_inside = y >= 0 && y < a.height;
        for (i32 cell = threadIdx.x % LANES; cell < cells; cell += LANES)
        {
            i32 column = cell / CHUNK_VECTORS, channel = first_channel + cell % CHUNK_VECTORS * VECTOR;
            i32 x = source_of(column, t.first_column, t.column_step, b.dilation);
            uint4 *to = tile + row * cells + cell;
            const ELEMENT *from = image + i64(y * a.width + x) * b.x_stride + channel;
            if (!row_inside || x < 0 || x >= a.width || channel >= b.inputs)
            {
                *to = make_uint4(0, 0, 0, 0);
                continue;
            }
#if ALIGNED
            copy16_to_shared(to, from);
#else
            for (int i = 0; i < VECTOR; i++) ((ELEMENT *)to)[i] = channel + i < b.inputs ? from[i] : ELEMENT{};
#endif
        }
    }
    close_copies();
    wait_for_copies<0>();
}

#if ALIGNED
// One or two outputs an input channel: a thread's output vector reads VECTOR / M neighbouring input channels.
template <int M>
__device__ inline void convolve(const Arguments &a, const Branch &b, const Tile &t, ELEMENT *image, i32 first_channel, const uint4 *tile)
{
    constexpr int INPUTS = VECTOR / M, WORDS = 4 / M, VECTORS = CHUNK_VECTORS * M;
    constexpr int ROUND = THREADS / VECTORS, PIXELS = TILE_H * TILE_W / ROUND;
    static_assert(TILE_H * TILE_W % ROUND == 0 && ROUND % TILE_W == 0, "a round of threads is whole rows of the tile");
    i32 vector = threadIdx.x % VECTORS, pixel = threadIdx.x / VECTORS, row = pixel / TILE_W, column = pixel % TILE_W;
    i32 outputs = b.inputs * M, channel = first_channel * M + vector * VECTOR;
    if (channel >= outputs) return;

    f32 sums[PIXELS][VECTOR], bias[VECTOR] = {};
    if (b.bias) load(b.bias + channel, bias);
#pragma unroll
    for (int p = 0; p < PIXELS; p++)
    {
#pragma unroll
        for (int i = 0; i < VECTOR; i++) sums[p][i] = bias[i];
    }

    const u32 *corner = (const u32 *)tile + ((row * t.columns + column) * VECTORS + vector) * WORDS;
    i32 row_words = t.columns * VECTORS * WORDS, round_words = ROUND / TILE_W * row_words;
#pragma unroll
    for (int tap = 0; tap < 9; tap++)
    {
        f32 weights[VECTOR];
        load(b.weights + tap * outputs + channel, weights);
        const u32 *from = corner + tap / 3 * t.row_step * row_words + tap % 3 * t.column_step * VECTORS * WORDS;
#pragma unroll
        for (int p = 0; p < PIXELS; p++)
        {
            u32 words[WORDS];
            if constexpr (WORDS == 4)
            {
                uint4 v = *(const uint4 *)(from + p * round_words);
                words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
            }
            else
            {
                uint2 v = *(const uint2 *)(from + p * round_words);
                words[0] = v.x, words[1] = v.y;
            }
            f32 values[INPUTS];
            widen<ELEMENT, INPUTS>(words, values);
#pragma unroll
            for (int i = 0; i < VECTOR; i++) sums[p][i] += weights[i] * values[i / M];
        }
    }

#pragma unroll
    for (int p = 0; p < PIXELS; p++)
    {
        i32 y = i32(blockIdx.x) / a.tiles_across * TILE_H + row + p * (ROUND / TILE_W);
        i32 x = i32(blockIdx.x) % a.tiles_across * TILE_W + column;
        if (y >= a.height || x >= a.width) continue;
        if (a.relu)
        {
#pragma unroll
            for (int i = 0; i < VECTOR; i++) sums[p][i] = sums[p][i] < 0 ? 0 : sums[p][i];
        }
        store(image + i64(y * a.width + x) * b.y_stride + channel, sums[p]);
    }
}
#endif

// Any multiplier: a thread makes one output element after another.
__device__ inline void convolve_any(const Arguments &a, const Branch &b, const Tile &t, ELEMENT *image, i32 first_channel, const uint4 *tile)
{
    i32 outputs = b.inputs * b.multiplier, chunk_outputs = CHUNK * b.multiplier, first_output = first_channel * b.multiplier;
    for (i32 item = threadIdx.x; item < TILE_H * TILE_W * chunk_outputs; item += THREADS)
    {
        i32 pixel = item / chunk_outputs, offset = item % chunk_outputs, channel = first_output + offset;
        i32 row = pixel / TILE_W, column = pixel % TILE_W;
        i32 y = i32(blockIdx.x) / a.tiles_across * TILE_H + row, x = i32(blockIdx.x) % a.tiles_across * TILE_W + column;
        if (channel >= outputs || y >= a.height || x >= a.width) continue;
        f32 sum = b.bias ? load_one(b.bias + channel) : 0;
        const ELEMENT *corner = (const ELEMENT *)tile + (row * t.columns + column) * CHUNK + offset / b.multiplier;
        for (int tap = 0; tap < 9; tap++)
        {
            f32 weight = load_one(b.weights + tap * outputs + channel);
            sum += weight * to_float(corner[(tap / 3 * t.row_step * t.columns + tap % 3 * t.column_step) * CHUNK]);
        }
        store_one(image + i64(y * a.width + x) * b.y_stride + channel, a.relu && sum < 0 ? 0 : sum);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS) depthwise_conv(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    extern __shared__ uint4 tile[];
    i32 index = a.count - 1;
    while (a.branches[index].first_chunk > i32(blockIdx.y)) index--;
    const Branch &b = a.branches[index];

    Tile t;
    t.first_row = i32(blockIdx.x) / a.tiles_across * TILE_H;
    t.first_column = i32(blockIdx.x) % a.tiles_across * TILE_W;
    t.row_step = min(b.dilation, TILE_H);
    t.column_step = min(b.dilation, TILE_W);
    t.columns = TILE_W + 2 * t.column_step;
    i32 first_channel = (i32(blockIdx.y) - b.first_chunk) * CHUNK;
    i64 pixels = i64(blockIdx.z) * a.height * a.width;

    fill_tile(a, b, t, b.x + pixels * b.x_stride, first_channel, tile);
    __syncthreads();
    ELEMENT *image = b.y + pixels * b.y_stride;
#if ALIGNED
    if (b.multiplier == 1) return convolve<1>(a, b, t, image, first_channel, tile);
    if (b.multiplier == 2) return convolve<2>(a, b, t, image, first_channel, tile);
#endif
    convolve_any(a, b, t, image, first_channel, tile);
}
