// Clusters, from sm_90 on: blocks that run at the same time and reach each other's shared memory. A cluster's blocks are neighbours in x; one's
// rank is its place among them.
#pragma once
#include "async_copy.cuh"

// All threads of all blocks of the cluster come to a meeting. What they wrote to shared memory before its beginning is there after its end: arriving
// releases and waiting acquires, also without these words, which NVRTC 11.8 does not know.
__device__ inline void begin_meeting()
{
    asm volatile("barrier.cluster.arrive.aligned;" ::: "memory");
}

__device__ inline void end_meeting()
{
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
}

// Where the own block's place in shared memory lies in a block of the cluster.
__device__ inline u32 address_in(const void *place, i32 rank)
{
    u32 address;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_address(place)), "r"(rank));
    return address;
}

// The rows of a tile that a block of a cluster ends with, in whole GRANULEs.
struct Share
{
    i32 first, count;
};

template <int GRANULE>
__device__ inline Share share_of(i32 rank, i32 blocks, i32 rows)
{
    i32 granules = rows / GRANULE, first = rank * granules / blocks * GRANULE;
    return {first, (rank + 1) * granules / blocks * GRANULE - first};
}

// Of the four values at this place in each block's shared memory, the sums over the blocks, in the order of their ranks.
__device__ inline float4 sum_of_cluster(const f32 *place, i32 blocks)
{
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 4
    for (i32 rank = 0; rank < blocks; rank++)
    {
        float4 part;
        asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(part.x), "=f"(part.y), "=f"(part.z), "=f"(part.w)
                     : "r"(address_in(place, rank))
                     : "memory");
        sum.x += part.x;
        sum.y += part.y;
        sum.z += part.z;
        sum.w += part.w;
    }
    return sum;
}

// The cluster's sums of a block's rows of COLUMNS values, in their place in its own shared memory. Rows and their pitch are whole vectors.
template <int THREADS, int COLUMNS>
__device__ inline void join_in_cluster(f32 *rows, i32 pitch, i32 count, i32 blocks)
{
    constexpr int VECTORS = COLUMNS / 4;
    for (i32 item = threadIdx.x; item < count * VECTORS; item += THREADS)
    {
        f32 *place = rows + item / VECTORS * pitch + item % VECTORS * 4;
        *(float4 *)place = sum_of_cluster(place, blocks);
    }
}
