// Clusters, from sm_90 on: blocks that run at the same time and reach each other's shared memory. A cluster's blocks are neighbours in x; one's
// rank is its place among them.
#pragma once
#include "async_copy.cuh"

// All threads of all blocks of the cluster come to a meeting. What they wrote to shared memory before its beginning is there after its end.
__device__ inline void begin_meeting()
{
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}

__device__ inline void end_meeting()
{
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Of the four values at this place in each block's shared memory, the sums over the blocks, in the order of their ranks.
__device__ inline float4 sum_of_cluster(const f32 *place, i32 blocks)
{
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 4
    for (i32 rank = 0; rank < blocks; rank++)
    {
        u32 address;
        float4 part;
        asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_address(place)), "r"(rank));
        asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                     : "=f"(part.x), "=f"(part.y), "=f"(part.z), "=f"(part.w)
                     : "r"(address)
                     : "memory");
        sum.x += part.x;
        sum.y += part.y;
        sum.z += part.z;
        sum.w += part.w;
    }
    return sum;
}
