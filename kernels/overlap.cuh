// Launches that overlap, from sm_90 on: where the host allows it, a launch begins when all blocks of the one before it have said so or ended, instead
// of when they have ended. Until await_previous() it may read nothing but what no launch beside it writes: arguments and packed weights. The
// launch before may itself have begun early, so that holds for all that came before.
//
// Blocks with much shared memory say so behind their main work. Earlier, the next launch's blocks would be placed where these leave room, not evenly
// over the multiprocessors; and the launch, addresses and first weights, which are what there is to hide, fit beside the end. Others say so at once.
//
// In a kernel that includes this file every thread calls both, whatever else it does: a launch that ended without waiting would be taken for the
// end of all before it. Kernels that make weights for others do not take part, and neither does a launch behind one of them.
#pragma once

// The next launch may begin; its blocks take what room is left.
__device__ inline void begin_next()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Returns when all launches before this one have ended and what they wrote is there.
__device__ inline void await_previous()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
