// A step of gradient descent with momentum, as PyTorch's SGD: every parameter of a network in one launch.
//
//   g = gradient + weight_decay * parameter,   velocity = momentum * velocity + g,   parameter -= rate * velocity
//
// Each line is one fused multiply-add, as on the CPU: both give the same bits. Parameter and velocity are updated in place; they overlap nothing
// else. The rate is a scalar in device memory, so that a captured step takes a new one.
//
// Defines   WIDTH  elements a thread moves at once: 4 where all tensors lie on 16 bytes, else 1
// Launch    a block of 256 threads for each CHUNK = 4096 elements of a tensor; a job says which blocks are its own
// Shared    none
//
// One launch for a table of jobs in device memory, as in fold_batch_norm.cu: DWRSeg-B has some two hundred tensors, most of a few hundred
// elements. The table is written when a plan is made and holds no values.
//
// Bytes: gradients once, parameters and velocities twice. Flops: 6 an element.
#include "overlap.cuh"
#include "types.cuh"

constexpr int THREADS = 256, CHUNK = 4096;

struct Job
{
    f32 *parameter;
    f32 *velocity;
    const f32 *gradient;
    const f32 *rate;
    i64 count;
    f32 momentum, weight_decay;
    i32 first_block;
    i32 padding;
};

struct Arguments
{
    const Job *jobs;
    i32 count;
    i32 padding;
};

template <int N>
__device__ inline void update(const Job &j, f32 rate, i64 at)
{
    f32 parameter[N], velocity[N], gradient[N];
    load_plain<f32>(j.parameter + at, parameter);
    load_plain<f32>(j.velocity + at, velocity);
    load(j.gradient + at, gradient);
#pragma unroll
    for (int i = 0; i < N; i++)
    {
        velocity[i] = __fmaf_rn(j.momentum, velocity[i], __fmaf_rn(j.weight_decay, parameter[i], gradient[i]));
        parameter[i] = __fmaf_rn(-rate, velocity[i], parameter[i]);
    }
    store_vector(j.velocity + at, velocity);
    store_vector(j.parameter + at, parameter);
}

extern "C" __global__ void __launch_bounds__(THREADS) sgd(KERNEL_ARGUMENTS(Arguments) a)
{
    begin_next();
    await_previous();
    // The last job whose first block is not after this one.
    i32 low = 0, high = a.count - 1;
    while (low < high)
    {
        i32 middle = (low + high + 1) / 2;
        if (a.jobs[middle].first_block <= i32(blockIdx.x)) low = middle;
        else high = middle - 1;
    }
    const Job j = a.jobs[low];
    f32 rate = *j.rate;
    i64 first = i64(i32(blockIdx.x) - j.first_block) * CHUNK, end = min(first + CHUNK, j.count);
    for (i64 i = first + i64(threadIdx.x) * WIDTH; i < end; i += THREADS * WIDTH)
    {
        if (i + WIDTH <= end) update<WIDTH>(j, rate, i);
        else for (i64 k = i; k < end; k++) update<1>(j, rate, k);
    }
}
