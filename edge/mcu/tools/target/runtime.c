/* What compilers may call for a struct's copy or a loop that clears: there is no libc to ask. */
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) && !defined(__clang__)
/* Else a loop that copies becomes a call of memcpy, inside memcpy as well. */
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

typedef uint32_t __attribute__((may_alias)) word;

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);

void *memcpy(void *restrict to, const void *restrict from, size_t count) {
    uint8_t *d = to;
    const uint8_t *s = from;
    if ((((uintptr_t)d | (uintptr_t)s) & 3U) == 0U) {
        for (; count >= 4U; count -= 4U, d += 4, s += 4) {
            *(word *)(void *)d = *(const word *)(const void *)s;
        }
    }
    while (count-- != 0U) {
        *d++ = *s++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t count) {
    uint8_t *d = to;
    const uint8_t *s = from;
    if ((uintptr_t)d <= (uintptr_t)s) {
        while (count-- != 0U) {
            *d++ = *s++;
        }
    } else {
        while (count-- != 0U) {
            d[count] = s[count];
        }
    }
    return to;
}

void *memset(void *to, int value, size_t count) {
    uint8_t *d = to;
    const uint32_t byte = (uint32_t)value & 0xFFU;
    for (; (count != 0U) && (((uintptr_t)d & 3U) != 0U); count--) {
        *d++ = (uint8_t)byte;
    }
    for (; count >= 4U; count -= 4U, d += 4) {
        *(word *)(void *)d = byte * 0x01010101U;
    }
    while (count-- != 0U) {
        *d++ = (uint8_t)byte;
    }
    return to;
}
