// COUNT copies of 16 bytes from global to shared memory, one batch of a pipeline: begin() starts each, end() makes sure that it is stored
// or on its way, wait_for_copies and a barrier make it visible. Where nothing is valid, zeros are written.
//
// Asynchronous copies (ASYNC, from sm_80 on) need no register and their source is 16 bytes at an address of 16 bytes. Otherwise begin()
// loads to registers and end() stores them, so that what stands between them hides the loads' latency; the source is then read element by
// element where it is not aligned, and the elements behind its end are zero.
#pragma once
#include "async_copy.cuh"

template <int COUNT, bool ASYNC>
struct CopyBatch;

template <int COUNT>
struct CopyBatch<COUNT, true>
{
    __device__ void begin(int, void *to, const void *from)
    {
        copy16_to_shared(to, from);
    }

    // `from` must be a readable address even where it is not valid.
    __device__ void begin(int, void *to, const void *from, bool is_valid)
    {
        u32 bytes = is_valid ? 16 : 0;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
    }

    __device__ void end()
    {
    }
};

template <int COUNT>
struct CopyBatch<COUNT, false>
{
    u32 words[COUNT][4];
    uint4 *targets[COUNT];

    __device__ void begin(int index, void *to, const void *from)
    {
        targets[index] = (uint4 *)to;
        load_words<16>(from, words[index]);
    }

    __device__ void begin(int index, void *to, const void *from, bool is_valid)
    {
        targets[index] = (uint4 *)to;
#pragma unroll
        for (int i = 0; i < 4; i++) words[index][i] = 0;
        if (is_valid) load_words<16>(from, words[index]);
    }

    // The first `elements` of 16 bytes' worth of T, on T's own alignment.
    template <class T>
    __device__ void begin_elements(int index, void *to, const T *from, i32 elements)
    {
        constexpr int PER_WORD = 4 / int(sizeof(T));
        targets[index] = (uint4 *)to;
#pragma unroll
        for (int i = 0; i < 4; i++)
        {
            words[index][i] = 0;
#pragma unroll
            for (int j = 0; j < PER_WORD; j++)
            {
                u32 element[1] = {};
                if (i * PER_WORD + j < elements) load_words<int(sizeof(T))>(from + i * PER_WORD + j, element);
                words[index][i] |= element[0] << (j * 16);
            }
        }
    }

    __device__ void end()
    {
#pragma unroll
        for (int i = 0; i < COUNT; i++) store_words<16>(targets[i], words[i]);
    }
};
