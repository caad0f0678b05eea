/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 and SHA-512 (FIPS 180-4), for 32-bit cores: no allocation, no library.
 *
 * Both share one table of constants: SHA-256's are the first 32 bits of SHA-512's.
 */
#ifndef FIRNLINE_SHA2_H
#define FIRNLINE_SHA2_H

#include <stddef.h>
#include <stdint.h>

#define FIRNLINE_SHA256_BYTES 32u
#define FIRNLINE_SHA512_BYTES 64u

#ifdef __cplusplus
extern "C" {
#endif

/* A SHA-256 in the making. */
typedef struct {
    uint32_t state[8];
    uint64_t length;
    uint8_t block[64];
} firnline_sha256;

void firnline_sha256_begin(firnline_sha256 *hash);
/* Its parameters are those a generated model's `<name>_identity` calls. */
void firnline_sha256_update(void *hash, const void *bytes, size_t length);
void firnline_sha256_end(firnline_sha256 *hash, uint8_t digest[FIRNLINE_SHA256_BYTES]);

/* A SHA-512 in the making. */
typedef struct {
    uint64_t state[8];
    uint64_t length;
    uint8_t block[128];
} firnline_sha512;

void firnline_sha512_begin(firnline_sha512 *hash);
void firnline_sha512_update(firnline_sha512 *hash, const void *bytes, size_t length);
void firnline_sha512_end(firnline_sha512 *hash, uint8_t digest[FIRNLINE_SHA512_BYTES]);

#ifdef __cplusplus
}
#endif

#endif
