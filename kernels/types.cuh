// Fixed-width numbers, storage types and vector memory access for kernels that compile with NVRTC alone, without a toolkit's headers.
//
// Arithmetic is fp32 everywhere; f16 and bf16 only say how a value lies in memory. A thread moves N neighbouring elements at once as raw
// 32-bit words (load_words, store_words: 2, 4, 8 or 16 bytes in one access, 32 in two) and widens or narrows them in registers.
#pragma once

using i32 = int;
using u8 = unsigned char;
using u16 = unsigned short;
using u32 = unsigned int;
using i64 = long long;
using u64 = unsigned long long;
using f32 = float;
using f64 = double;

struct f16
{
    u16 bits;
};

struct bf16
{
    u16 bits;
};

// A kernel's arguments are one struct. Without __grid_constant__ (before sm_70, or in compilers before 11.7) it is a plain parameter by value.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 700 && __CUDACC_VER_MAJOR__ * 100 + __CUDACC_VER_MINOR__ >= 1107
#define HAS_GRID_CONSTANT 1
#define KERNEL_ARGUMENTS(type) const __grid_constant__ type
#else
#define HAS_GRID_CONSTANT 0
#define KERNEL_ARGUMENTS(type) const type
#endif

// The registers that hold N elements of T; a lone 16-bit element takes the low half of one.
template <class T, int N>
constexpr int words_of = (N * int(sizeof(T)) + 3) / 4;

__device__ inline f32 to_float(f32 value)
{
    return value;
}

__device__ inline f32 to_float(f16 value)
{
    f32 result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
    return result;
}

__device__ inline f32 to_float(bf16 value)
{
    return __uint_as_float(u32(value.bits) << 16);
}

template <class T>
__device__ inline T from_float(f32 value);

template <>
__device__ inline f32 from_float<f32>(f32 value)
{
    return value;
}

template <>
__device__ inline f16 from_float<f16>(f32 value)
{
    f16 result;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
    return result;
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
template <>
__device__ inline bf16 from_float<bf16>(f32 value)
{
    bf16 result;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
    return result;
}
#endif

// Two 16-bit values of one word; the first lies in its low half.
template <class T>
__device__ inline void widen_pair(u32 word, f32 &first, f32 &second)
{
    first = to_float(T{u16(word)});
    second = to_float(T{u16(word >> 16)});
}

template <>
__device__ inline void widen_pair<bf16>(u32 word, f32 &first, f32 &second)
{
    first = __uint_as_float(word << 16);
    second = __uint_as_float(word & 0xffff0000u);
}

template <class T>
__device__ inline u32 narrow_pair(f32 first, f32 second)
{
    return u32(from_float<T>(first).bits) | u32(from_float<T>(second).bits) << 16;
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
template <>
__device__ inline u32 narrow_pair<f16>(f32 first, f32 second)
{
    u32 word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
    return word;
}

template <>
__device__ inline u32 narrow_pair<bf16>(f32 first, f32 second)
{
    u32 word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(second), "f"(first));
    return word;
}
#endif

template <class T, int N>
__device__ inline void widen(const u32 (&words)[words_of<T, N>], f32 (&values)[N])
{
    if constexpr (sizeof(T) == 4)
    {
#pragma unroll
        for (int i = 0; i < N; i++) values[i] = __uint_as_float(words[i]);
    }
    else if constexpr (N == 1)
    {
        values[0] = to_float(T{u16(words[0])});
    }
    else
    {
#pragma unroll
        for (int i = 0; i < N / 2; i++) widen_pair<T>(words[i], values[2 * i], values[2 * i + 1]);
    }
}

template <class T, int N>
__device__ inline void narrow(const f32 (&values)[N], u32 (&words)[words_of<T, N>])
{
    if constexpr (sizeof(T) == 4)
    {
#pragma unroll
        for (int i = 0; i < N; i++) words[i] = __float_as_uint(values[i]);
    }
    else if constexpr (N == 1)
    {
        words[0] = from_float<T>(values[0]).bits;
    }
    else
    {
#pragma unroll
        for (int i = 0; i < N / 2; i++) words[i] = narrow_pair<T>(values[2 * i], values[2 * i + 1]);
    }
}

// Loads of global memory that nothing writes while the kernel computes. Where launches overlap (overlap.cuh) the one before may write it until the
// kernel has waited, and compilers move loads through the read-only path past any wait; so those are plain loads that stay where they stand.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define LOAD_ASM asm volatile
#define READ_ONLY ""
#else
#define LOAD_ASM asm
#define READ_ONLY ".nc"
#endif

// BYTES is what the address must be a multiple of, up to 16.
template <int BYTES>
__device__ inline void load_words(const void *from, u32 (&words)[(BYTES + 3) / 4])
{
    if constexpr (BYTES == 2)
    {
        u16 half;
        LOAD_ASM("ld.global" READ_ONLY ".u16 %0, [%1];" : "=h"(half) : "l"(from));
        words[0] = half;
    }
    else if constexpr (BYTES == 4)
    {
        LOAD_ASM("ld.global" READ_ONLY ".u32 %0, [%1];" : "=r"(words[0]) : "l"(from));
    }
    else if constexpr (BYTES == 8)
    {
        LOAD_ASM("ld.global" READ_ONLY ".v2.u32 {%0, %1}, [%2];" : "=r"(words[0]), "=r"(words[1]) : "l"(from));
    }
    else
    {
        static_assert(BYTES % 16 == 0, "vectors are of 2, 4, 8 or 16 bytes");
#pragma unroll
        for (int i = 0; i < BYTES / 4; i += 4)
        {
            LOAD_ASM("ld.global" READ_ONLY ".v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(words[i]), "=r"(words[i + 1]), "=r"(words[i + 2]), "=r"(words[i + 3])
                     : "l"((const u32 *)from + i));
        }
    }
}

template <int BYTES>
__device__ inline void store_words(void *to, const u32 (&words)[(BYTES + 3) / 4])
{
    if constexpr (BYTES == 2)
    {
        *(u16 *)to = u16(words[0]);
    }
    else if constexpr (BYTES == 4)
    {
        *(u32 *)to = words[0];
    }
    else if constexpr (BYTES == 8)
    {
        *(uint2 *)to = make_uint2(words[0], words[1]);
    }
    else
    {
        static_assert(BYTES % 16 == 0, "vectors are of 2, 4, 8 or 16 bytes");
#pragma unroll
        for (int i = 0; i < BYTES / 4; i += 4)
            *(uint4 *)((u32 *)to + i) = make_uint4(words[i], words[i + 1], words[i + 2], words[i + 3]);
    }
}

// 16 bytes of global memory in one access, where the compiler can't see that the address is aligned and would take four.
__device__ inline void store_global16(void *to, const u32 (&words)[4])
{
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3]) : "memory");
}

// N neighbouring elements as fp32, from memory that the kernel may also write: not through the read-only path.
template <class T, int N>
__device__ inline void load_plain(const T *from, f32 (&values)[N])
{
    constexpr int BYTES = N * int(sizeof(T));
    u32 words[words_of<T, N>];
    if constexpr (BYTES == 2) words[0] = *(const u16 *)from;
    else if constexpr (BYTES == 4) words[0] = *(const u32 *)from;
    else if constexpr (BYTES == 8)
    {
        uint2 v = *(const uint2 *)from;
        words[0] = v.x, words[1] = v.y;
    }
    else
    {
        static_assert(BYTES == 16, "vectors are of 2, 4, 8 or 16 bytes");
        uint4 v = *(const uint4 *)from;
        words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
    }
    widen<T, N>(words, values);
}

// N neighbouring elements as fp32, from memory that nothing writes meanwhile.
template <class T, int N>
__device__ inline void load(const T *from, f32 (&values)[N])
{
    u32 words[words_of<T, N>];
    load_words<N * int(sizeof(T))>(from, words);
    widen<T, N>(words, values);
}

template <class T, int N>
__device__ inline void store(T *to, const f32 (&values)[N])
{
    u32 words[words_of<T, N>];
    narrow<T, N>(values, words);
    store_words<N * int(sizeof(T))>(to, words);
}

// The same in one access, where the compiler can't see that the address is aligned (store_global16).
template <class T, int N>
__device__ inline void store_vector(T *to, const f32 (&values)[N])
{
    if constexpr (N * sizeof(T) == 16)
    {
        u32 words[4];
        narrow<T, N>(values, words);
        store_global16(to, words);
    }
    else
    {
        store(to, values);
    }
}

template <class T>
__device__ inline f32 load_one(const T *from)
{
    f32 values[1];
    load<T, 1>(from, values);
    return values[0];
}

// The value, or 0 where the condition is; without a branch, which compilers make of the like.
__device__ inline f32 load_one_if(u32 condition, const f32 *from)
{
    f32 value;
    LOAD_ASM("{ .reg .pred p; setp.ne.u32 p, %2, 0; mov.f32 %0, 0f00000000; @p ld.global" READ_ONLY ".f32 %0, [%1]; }"
             : "=f"(value) : "l"(from), "r"(condition));
    return value;
}

template <class T>
__device__ inline void store_one(T *to, f32 value)
{
    *to = from_float<T>(value);
}
