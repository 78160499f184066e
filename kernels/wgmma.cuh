// Tensor-core products of four warps (wgmma, sm_90a alone): they run beside the threads that issue them, and read B, or both operands, from
// shared memory by themselves.
//
// A product is c[64][N] += a[64][16] b[16][N]. Of the group's rows, warp w (counted within the group) has 16 w to 16 w + 15, and a lane holds
// of each eight columns what mma.cuh says of a 16x8 tile. In shared memory a row is 64 values along the sum, 128 bytes, with its 16-byte
// vectors at vector ^ row_key; eight rows are a pattern, which starts at a multiple of 1024 bytes.
//
//   publish_to_products()           behind the writes (and the waits for copies), before the barrier
//   hold(sums)                      where other code made the sums, before the first begin
//   begin_products()                behind the last access to sums and fragments
//   multiply_add_group(...)         any number of them
//   close_products()                makes a group of them
//   wait_for_products<PENDING>()    before the next access to sums and fragments, and before the barrier that frees the operands
//   hold(sums)                      where other code reads the sums, behind the wait
//
// All 128 threads of a warpgroup call each together.
#pragma once
#include "async_copy.cuh"

constexpr int PRODUCT_ROWS = 64, PRODUCT_DEPTH = 16, PATTERN_BYTES = 1024;

// A matrix whose first row begins at this shared address: rows of 128 bytes, patterns of eight rows behind each other.
__device__ inline u64 matrix_at(u32 address)
{
    constexpr u64 MODE_128_BYTES = u64(1) << 62, NEXT_PATTERN = u64(PATTERN_BYTES >> 4) << 32, UNUSED_LEADING = u64(1) << 16;
    return MODE_128_BYTES | NEXT_PATTERN | UNUSED_LEADING | (address >> 4 & 0x3fff);
}

// The same matrix from 16 k values along the sum on; k below 4.
__device__ inline u64 advanced(u64 matrix, int k)
{
    return matrix + u64(k * PRODUCT_DEPTH * 2 >> 4);
}

__device__ inline void publish_to_products()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// The compiler, which knows nothing of products under way, moves no access to the sums over this place.
template <int COUNT>
__device__ inline void hold(f32 (&sums)[COUNT])
{
#pragma unroll
    for (int i = 0; i < COUNT; i++) asm volatile("" : "+f"(sums[i])::"memory");
}

__device__ inline void begin_products()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ inline void close_products()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Until at most PENDING groups are under way.
template <int PENDING>
__device__ inline void wait_for_products()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// c += a b with a in registers, as mma.cuh has it, or in shared memory.
template <class T, int COUNT>
__device__ inline void multiply_add_group(f32 (&c)[COUNT], const u32 (&a)[4], u64 b);

template <class T, int COUNT>
__device__ inline void multiply_add_group(f32 (&c)[COUNT], u64 a, u64 b);

#define SUMS_8(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), "+f"(c[i + 7])
#define SUMS_16(i) SUMS_8(i), SUMS_8(i + 8)
#define SUMS_32(i) SUMS_16(i), SUMS_16(i + 16)
#define SUMS_48(i) SUMS_32(i), SUMS_16(i + 32)
#define SUMS_64(i) SUMS_32(i), SUMS_32(i + 32)
#define NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define NAMES_32 NAMES_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES_48 NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define NAMES_64 NAMES_48 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// COUNT sums a lane are COLUMNS = 2 COUNT; P0 to P4 number the operands behind them.
#define PRODUCT(TYPE, NAME, COLUMNS, COUNT, P0, P1, P2, P3, P4)                                                                                  \
    template <>                                                                                                                                  \
    __device__ inline void multiply_add_group<TYPE, COUNT>(f32(&c)[COUNT], const u32(&a)[4], u64 b)                                              \
    {                                                                                                                                            \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" COLUMNS "k16.f32." NAME "." NAME " {" NAMES_##COUNT "}, {" P0 ", " P1 ", " P2 ", " P3   \
                     "}, " P4 ", 1, 1, 1, 0;"                                                                                                    \
                     : SUMS_##COUNT(0)                                                                                                           \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                                                      \
    }                                                                                                                                            \
    template <>                                                                                                                                  \
    __device__ inline void multiply_add_group<TYPE, COUNT>(f32(&c)[COUNT], u64 a, u64 b)                                                         \
    {                                                                                                                                            \
        asm volatile("wgmma.mma_async.sync.aligned.m64n" COLUMNS "k16.f32." NAME "." NAME " {" NAMES_##COUNT "}, " P0 ", " P1 ", 1, 1, 1, 0, 0;" \
                     : SUMS_##COUNT(0)                                                                                                           \
                     : "l"(a), "l"(b));                                                                                                          \
    }
#define PRODUCTS(TYPE, NAME)                                              \
    PRODUCT(TYPE, NAME, "32", 16, "%16", "%17", "%18", "%19", "%20")      \
    PRODUCT(TYPE, NAME, "64", 32, "%32", "%33", "%34", "%35", "%36")      \
    PRODUCT(TYPE, NAME, "96", 48, "%48", "%49", "%50", "%51", "%52")      \
    PRODUCT(TYPE, NAME, "128", 64, "%64", "%65", "%66", "%67", "%68")

PRODUCTS(f16, "f16")
PRODUCTS(bf16, "bf16")

#undef PRODUCTS
#undef PRODUCT
#undef NAMES_64
#undef NAMES_48
#undef NAMES_32
#undef NAMES_16
#undef SUMS_64
#undef SUMS_48
#undef SUMS_32
#undef SUMS_16
#undef SUMS_8
