// 16-byte copies from global to shared memory: cp.async from sm_80 on, where a thread's copies run beside its other work until it
// waits for them; before that a load and a store, done when the call returns.
#pragma once
#include "types.cuh"

__device__ inline u32 shared_address(const void *pointer)
{
    return u32(__cvta_generic_to_shared(pointer));
}

__device__ inline void copy16_to_shared(void *to, const void *from)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
#else
    u32 words[4];
    load_words<16>(from, words);
    store_words<16>(to, words);
#endif
}

// Closes the group of the copies that this thread began since the last one.
__device__ inline void close_copies()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most PENDING of this thread's groups are under way. Other threads' copies need a barrier after it.
template <int PENDING>
__device__ inline void wait_for_copies()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}
