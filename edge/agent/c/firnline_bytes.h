/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes compared, where there is no <string.h>. */
#ifndef FIRNLINE_BYTES_H
#define FIRNLINE_BYTES_H

#include <stddef.h>
#include <stdint.h>

static inline int firnline_same_bytes(const uint8_t *a, const uint8_t *b, size_t length)
{
    uint32_t differing = 0u;
    for (size_t i = 0u; i < length; i++) {
        differing |= (uint32_t)a[i] ^ b[i];
    }
    return (differing == 0u) ? 1 : 0;
}

#endif
