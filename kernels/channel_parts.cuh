// Sums over a map's pixels, channel by channel, in one launch: what the gradients of biases, batch norms and depth-wise weights and a batch's
// statistics have in common.
//
// The block's threads are lanes over neighbouring vectors of channels (a power of two of them, 128 bytes at most), then rows over neighbouring
// pixels, so a warp's accesses are consecutive where the pixels are. Blocks in x take equal chunks of the pixels, blocks in y groups of channels. A
// block's rows meet in shared memory, blocks in global memory, where the last one to arrive goes over their parts as all of them went over the
// pixels. Who adds what to what depends on the launch's shape alone, so results do not depend on which block was last.
//
// A state is what is summed: COUNT fp32 numbers, zeros before the first pixel, and merge(), which takes in another's pixels.
#pragma once
#include "types.cuh"

// How the launcher cuts the map.
struct ChannelParts
{
    i64 pixels, chunk_pixels;
    i32 channels, lanes;
};

struct ChannelReduction
{
    ChannelParts parts;
    // [group][chunk][COUNT][lanes]
    f32 *partials;
    // [group], zero before the first launch; every launch leaves zeros.
    u32 *arrivals;
};

// What of the map is the thread's: from pixel `first` on every `rows`-th one before `end`, there CHANNELS channels from `channel` on.
struct ThreadPart
{
    i32 lane, row, rows, channel;
    i64 first, end;
};

template <int THREADS, int CHANNELS>
__device__ inline ThreadPart part_of_thread(const ChannelParts &p)
{
    ThreadPart t;
    t.lane = i32(threadIdx.x) & (p.lanes - 1);
    t.row = i32(threadIdx.x) / p.lanes;
    t.rows = THREADS / p.lanes;
    t.channel = (i32(blockIdx.y) * p.lanes + t.lane) * CHANNELS;
    i64 start = i64(blockIdx.x) * p.chunk_pixels;
    t.first = start + t.row;
    // Lanes beyond the last channel have no pixels.
    t.end = t.channel < p.channels ? min(start + p.chunk_pixels, p.pixels) : 0;
    return t;
}

// N sums.
template <int N>
struct Sums
{
    static constexpr int COUNT = N;
    f32 values[N];

    __device__ inline void merge(const Sums &other)
    {
#pragma unroll
        for (int i = 0; i < N; i++) values[i] += other.values[i];
    }
};

// Merges the block's states lane by lane into those of its first row.
template <int THREADS, class State>
__device__ inline void merge_rows(i32 lanes, State &state)
{
    __shared__ f32 passed[State::COUNT][THREADS / 2];
    i32 thread = threadIdx.x;
    for (i32 half = THREADS / 2; half >= lanes; half /= 2)
    {
        if (thread >= half && thread < 2 * half)
        {
#pragma unroll
            for (int i = 0; i < State::COUNT; i++) passed[i][thread - half] = state.values[i];
        }
        __syncthreads();
        if (thread < half)
        {
            State other;
#pragma unroll
            for (int i = 0; i < State::COUNT; i++) other.values[i] = passed[i][thread];
            state.merge(other);
        }
        __syncthreads();
    }
}

// Returns true in the threads that end with the state of all pixels: the first row of the last block of each group of channels.
template <int THREADS, class State>
__device__ inline bool merge_all(const ChannelReduction &r, const ThreadPart &t, State &state)
{
    __shared__ u32 arrived;
    merge_rows<THREADS>(r.parts.lanes, state);
    if (gridDim.x == 1) return t.row == 0;
    i32 pitch = State::COUNT * r.parts.lanes;
    f32 *parts = r.partials + i64(blockIdx.y) * gridDim.x * pitch + t.lane;
    if (t.row == 0)
    {
#pragma unroll
        for (int i = 0; i < State::COUNT; i++) parts[i64(blockIdx.x) * pitch + i * r.parts.lanes] = state.values[i];
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) arrived = atomicInc(r.arrivals + blockIdx.y, gridDim.x - 1);
    __syncthreads();
    if (arrived != gridDim.x - 1) return false;
    __threadfence();
    state = State{};
#pragma unroll 4
    for (i32 chunk = t.row; chunk < i32(gridDim.x); chunk += t.rows)
    {
        State other;
#pragma unroll
        for (int i = 0; i < State::COUNT; i++)
        {
            // Past L1, which may hold what was there before.
            asm volatile("ld.volatile.global.f32 %0, [%1];"
                         : "=f"(other.values[i])
                         : "l"(parts + i64(chunk) * pitch + i * r.parts.lanes)
                         : "memory");
        }
        state.merge(other);
    }
    merge_rows<THREADS>(r.parts.lanes, state);
    return t.row == 0;
}
