/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verification of Ed25519 signatures (RFC 8032, 5.1), for 32-bit cores. Nothing is secret here, so
 * time depends on the signature; nothing is signed here.
 *
 * Of what RFC 8032 leaves open, the strict choice is made: the equation without cofactor, one
 * encoding for every point and scalar, and no key of small order, for which a signature would say
 * nothing of the message.
 */
#ifndef FIRNLINE_ED25519_H
#define FIRNLINE_ED25519_H

#include <stddef.h>
#include <stdint.h>

#define FIRNLINE_ED25519_KEY_BYTES 32u
#define FIRNLINE_ED25519_SIGNATURE_BYTES 64u

#ifdef __cplusplus
extern "C" {
#endif

/* 1 where the signature is the key's over the message, else 0. */
int firnline_ed25519_verify(const uint8_t signature[FIRNLINE_ED25519_SIGNATURE_BYTES],
                            const uint8_t *message, size_t length,
                            const uint8_t key[FIRNLINE_ED25519_KEY_BYTES]);

#ifdef __cplusplus
}
#endif

#endif
