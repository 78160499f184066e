// Cross-entropy with online hard example mining, in launches without the host between them:
//
//   ohem_losses      each pixel's loss; how many count and how many of them are hard; whether these are too few
//   ohem_boundary    three times: a digit of the loss that the last of the kept pixels has, where the hardest must fill up
//   ohem_weights     each pixel's weight, and the loss
//
// Losses that are not negative order as their bits do, so the boundary is found by counting them digit by digit, from the highest. Counts are
// integers and their sums the same in any order; sums of losses are fp64 and made in a fixed order. So a launch gives the same bits each time.
//
// The losses stand where the weights will. The last block to arrive at a counter ends with a launch for all of it.
#pragma once
#include "types.cuh"

constexpr int THREADS = 256, WARPS = THREADS / 32;

// An ignored pixel's loss; all others have the sign bit clear.
constexpr u32 IGNORED = 0xbf800000, SIGN = 0x80000000, NOT_A_NUMBER = 0x7fc00000;

// Digits of 11, 11 and 9 bits.
constexpr int DIGIT_BITS = 11, LAST_BITS = 9, BUCKETS = 1 << DIGIT_BITS, LAST_BUCKETS = 1 << LAST_BITS;

struct Selection
{
    // Counters, zero before the first launch; every launch leaves zeros.
    u32 arrivals, valid, hard;
    // How many pixels are kept. Where `fills`, they are the hardest: all whose loss is larger than the boundary, and the first `wanted` of those
    // whose loss it is.
    u32 kept, fills, boundary, wanted;
    u32 padding;
};

// The value's sum over the threads before this one, and over all. Every thread of the block takes part.
__device__ inline u32 sum_before(u32 value, u32 &total)
{
    __shared__ u32 sums[WARPS];
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, sum = value;
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2)
    {
        u32 other = __shfl_up_sync(0xffffffff, sum, offset);
        if (lane >= offset) sum += other;
    }
    // What the last call left may still be read.
    __syncthreads();
    if (lane == 31) sums[warp] = sum;
    __syncthreads();
    u32 before = 0;
    total = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++)
    {
        if (w < warp) before += sums[w];
        total += sums[w];
    }
    return before + sum - value;
}

// The sum over the block's threads, always in the same order; in thread 0.
__device__ inline f64 sum_of_block(f64 value)
{
    __shared__ f64 sums[WARPS];
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffff, value, offset);
    __syncthreads();
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
    __syncthreads();
    f64 sum = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) sum += sums[w];
    return sum;
}

// True in all threads of the one block that comes last; what the others wrote before is there.
__device__ inline bool is_last_block(u32 *arrivals)
{
    __shared__ u32 arrived;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) arrived = atomicInc(arrivals, gridDim.x - 1);
    __syncthreads();
    if (arrived != gridDim.x - 1) return false;
    __threadfence();
    return true;
}
