// Sums that several blocks share: each makes a part, and the parts are added up always in the same order, so that results do not depend on which
// block was last. Parts meet in global memory, where the last block to arrive ends with the tile; or, from sm_90 on, in the shared memory of a
// cluster (cluster.cuh), each block ending with some of the tile's rows: nothing then leaves the multiprocessors but the output.
#pragma once
#include "cluster.cuh"

// Each block makes its own sums; or parts of them meet.
#define NO_SPLIT 0
#define MEMORY_SPLIT 1
#define CLUSTER_SPLIT 2

struct SplitWorkspace
{
    // [tile][split][COUNT / 4][THREADS] vectors of four.
    float4 *partials;
    // [tile], zero before the first launch; every launch leaves zeros.
    u32 *arrivals;
};

// Returns true in the one block that ends with the whole sums of the tile.
template <int THREADS, int COUNT>
__device__ inline bool join_in_memory(const SplitWorkspace &w, i32 tile, i32 split, i32 splits, f32 (&sums)[COUNT])
{
    static_assert(COUNT % 4 == 0, "sums are kept in vectors of four");
    __shared__ u32 arrived;
    float4 *parts = w.partials + i64(tile) * splits * (COUNT / 4) * THREADS + threadIdx.x;
    float4 *own = parts + i64(split) * (COUNT / 4) * THREADS;
#pragma unroll
    for (int i = 0; i < COUNT / 4; i++)
        own[i * THREADS] = make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]);
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) arrived = atomicInc(w.arrivals + tile, u32(splits - 1));
    __syncthreads();
    if (arrived != u32(splits - 1)) return false;
    __threadfence();
#pragma unroll
    for (int i = 0; i < COUNT; i++) sums[i] = 0;
    for (int s = 0; s < splits; s++)
    {
#pragma unroll
        for (int i = 0; i < COUNT / 4; i++)
        {
            float4 part;
            // Past L1, which may hold what was there before.
            asm volatile("ld.volatile.global.v4.f32 {%0, %1, %2, %3}, [%4];"
                         : "=f"(part.x), "=f"(part.y), "=f"(part.z), "=f"(part.w)
                         : "l"(parts + (i64(s) * (COUNT / 4) + i) * THREADS)
                         : "memory");
            sums[4 * i] += part.x;
            sums[4 * i + 1] += part.y;
            sums[4 * i + 2] += part.z;
            sums[4 * i + 3] += part.w;
        }
    }
    return true;
}

