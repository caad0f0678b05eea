/*
 * What every kernel stands on: exact widths, one rounding a step, no surprise from compilers.
 *
 * The results of these kernels are defined to the bit. Floats are IEEE 754 binary32, rounded to
 * nearest even after every single operation; subnormals are kept. A compiler that fuses a product
 * and a sum, keeps more precision than asked, or assumes that there is no NaN would break that:
 * the first is forbidden below, the others do not compile.
 *
 * Beyond C99 the kernels rely on two's complement, on >> of a negative number being arithmetic,
 * and on a union to see a float's bits (which C99 defines, and MISRA C:2012 rule 19.2 advises
 * against): true of every compiler for the cores they are made for.
 */
#ifndef FIRNLINE_BASE_H
#define FIRNLINE_BASE_H

#include <float.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && (__FINITE_MATH_ONLY__ != 0))
#error "compile without -ffast-math and -ffinite-math-only: results are defined to the bit"
#endif
#if (FLT_EVAL_METHOD != 0) && (FLT_EVAL_METHOD != 16)
#error "float arithmetic must be evaluated as float: on x86 compile with -msse2 -mfpmath=sse"
#endif
#if ((-3) >> 1) != -2
#error ">> of a negative number must be arithmetic"
#endif

#if defined(__BYTE_ORDER__) && (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
#error "weights are packed for little-endian cores"
#endif

/* No step may be fused, put in another order or done by a reciprocal, whatever the options say. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#pragma clang fp reassociate(off)
#if __clang_major__ >= 18
#pragma clang fp reciprocal(off)
#endif
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off", "no-unsafe-math-optimizations", "no-associative-math")
#pragma GCC optimize("no-reciprocal-math", "signed-zeros", "trapping-math")
#endif

#if defined(__GNUC__)
/* Assembler is one string, longer than C99 asks of every compiler. */
#pragma GCC diagnostic ignored "-Woverlength-strings"
#define FIRNLINE_KERNEL static __attribute__((unused))
#define FIRNLINE_INLINE static inline __attribute__((always_inline, unused))
#define FIRNLINE_ALIGNED __attribute__((aligned(16)))
/* Memory is reused by values of other types: nothing moves from one layer into the next. With
 * FIRNLINE_MARKS a symbol tells an emulator where each begins; the code is the same. */
#if defined(FIRNLINE_MARKS)
#define FIRNLINE_LAYER(name)                                                                      \
    __asm__ volatile(".globl firnline_layer_" #name "\nfirnline_layer_" #name ":" : : : "memory")
#else
#define FIRNLINE_LAYER(name) __asm__ volatile("" : : : "memory")
#endif
/* A function in assembler alone, its parameters in registers. The GNU compiler is told to leave
 * these alone: not to drop parameters it sees no use of, nor, when it does not optimise, to store
 * them on a stack frame that does not exist. ADR counts from whole words, which code optimised for
 * size need not begin on. */
#if defined(__clang__)
#define FIRNLINE_NAKED static __attribute__((naked, noinline, unused, aligned(4)))
#else
#define FIRNLINE_NAKED                                                                            \
    static __attribute__((naked, noinline, noipa, unused, optimize("O2"), aligned(4)))
#endif
#define FIRNLINE_UNUSED __attribute__((unused))
#define FIRNLINE_INFINITY __builtin_inff()
#define FIRNLINE_NAN __builtin_nanf("")
#else
#define FIRNLINE_KERNEL static
#define FIRNLINE_INLINE static inline
#define FIRNLINE_ALIGNED
#define FIRNLINE_LAYER(name) ((void)0)
#define FIRNLINE_INFINITY (1.0f / 0.0f)
#define FIRNLINE_NAN (0.0f / 0.0f)
#endif

/* Does not compile where assembler would find other members of a structure than it reads. */
#define FIRNLINE_PLACED(name, truth) typedef char name[(truth) ? 1 : -1]

typedef union {
    float number;
    uint32_t bits;
} firnline_float_bits;

FIRNLINE_INLINE uint32_t firnline_bits(float number)
{
    firnline_float_bits both;
    both.number = number;
    return both.bits;
}

FIRNLINE_INLINE float firnline_from_bits(uint32_t bits)
{
    firnline_float_bits both;
    both.bits = bits;
    return both.number;
}

/* Nearest integer, half to even, of a number within +-2^22: beyond 2^23 a float has no fraction
 * left, so the sum with 1.5 * 2^23 is rounded to an integer, which its low bits then hold. */
FIRNLINE_INLINE int32_t firnline_rint(float number)
{
    return (int32_t)(firnline_bits(number + 12582912.0f) - 0x4B400000u);
}

/* clip(rint(number) + zero, low, high). Clipping first, at integers, gives the same. */
FIRNLINE_INLINE int8_t firnline_to_int8(float number, int32_t zero, int32_t low, int32_t high)
{
    const float least = (float)(low - zero);
    const float greatest = (float)(high - zero);
    float within = (number > least) ? number : least;
    within = (within < greatest) ? within : greatest;
    return (int8_t)(firnline_rint(within) + zero);
}

#endif
