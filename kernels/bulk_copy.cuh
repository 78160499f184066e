// Copies that run by themselves, from sm_90 on: one thread starts a copy of any length from global memory to the shared memory of its own block, or
// of all blocks of its cluster at once, and barriers in shared memory tell who waits that the bytes are there, or that a place is free again.
//
// A barrier's phase ends when all arrivals that it was made for have come, and all bytes that were announced; then the next phase begins. Waiting
// for a parity waits for the end of the phase of that parity, the first phase having 0: before it has ended, a wait for 1 returns at once.
#pragma once
#include "cluster.cuh"

// By one thread, before publish_barriers() and a meeting of the cluster.
__device__ inline void make_barrier(u64 *barrier, u32 arrivals)
{
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// By the thread that made them.
__device__ inline void publish_barriers()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// Announces bytes and arrives.
__device__ inline void expect_bytes(u64 *barrier, u32 bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}

// Arrives at this barrier of a block of the cluster, to tell that a place is free: what this thread has read it has, so nothing is published, and a
// release for the whole cluster would cost a fence each time.
__device__ inline void arrive_at(u64 *barrier, i32 rank)
{
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(address_in(barrier, rank)) : "memory");
}

__device__ inline void wait_for_phase(u64 *barrier, u32 parity)
{
    u32 has_ended;
    do
    {
        asm volatile("{\n"
                     ".reg .pred ended;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 ended, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, ended;\n"
                     "}"
                     : "=r"(has_ended)
                     : "r"(shared_address(barrier)), "r"(parity)
                     : "memory");
    } while (!has_ended);
}

// An address that many vectors behind another. Of a sum that the assembler sees (12.4 to 13.0) it may lose the base's high half on the way to a
// multicast copy.
__device__ inline const uint4 *behind(const uint4 *base, u32 vectors)
{
    const uint4 *address;
    asm volatile("mad.wide.u32 %0, %1, 16, %2;" : "=l"(address) : "r"(vectors), "l"(base));
    return address;
}

// Bytes and addresses are multiples of 16. They arrive at the same place in each of the cluster's BLOCKS, and are counted at its own barrier.
template <int BLOCKS>
__device__ inline void copy_to_cluster(void *to, const void *from, u32 bytes, u64 *barrier)
{
    if constexpr (BLOCKS == 1)
    {
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared_address(to)),
                     "l"(from), "r"(bytes), "r"(shared_address(barrier))
                     : "memory");
    }
    else
    {
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, [%3], %4;" ::"r"(
                         shared_address(to)),
                     "l"(from), "r"(bytes), "r"(shared_address(barrier)), "h"(u16((1 << BLOCKS) - 1))
                     : "memory");
    }
}
