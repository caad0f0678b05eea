/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The firmware manifest of a release, as a bootloader checks it: who signed it, for which model,
 * how new it is, and whether the weights in flash are the signed ones. No parser: 256 bytes, every
 * field at its place, numbers little-endian.
 *
 *   offset  bytes
 *        0      4  "FIRN"
 *        4      2  format: 1
 *        6      2  flags: bit 0, the constants' length and sha256 are given
 *        8      4  counter: greater with every manifest of this ensemble and target
 *       12      4  length of the model's constants
 *       16     32  ensemble, ASCII, zeros behind it
 *       48     32  target, likewise
 *       80     32  digest of the release
 *      112     32  sha256 of the C project, as its proof names it
 *      144     32  sha256 of the model's constants, as `<name>_identity` tells them
 *      176      8  key: the first bytes of the sha256 of the Ed25519 public key
 *      184      8  reserved: zeros
 *      192     64  Ed25519 signature (RFC 8032) of the 192 bytes before it
 *
 * Where the channel's role asks for more than one signature, a release has as many of them in a
 * row, each by another key and else alike.
 */
#ifndef FIRNLINE_VERIFY_H
#define FIRNLINE_VERIFY_H

#include <stddef.h>
#include <stdint.h>

#define FIRNLINE_MANIFEST_BYTES 256u

#ifdef __cplusplus
extern "C" {
#endif

/* Any two differ in 14 bits or more, and each from all zeros and all ones in 13: neither a flipped
 * bit nor memory that was never written makes consent of a refusal. */
typedef enum {
    FIRNLINE_ACCEPTED = 0x3CA5965A,
    FIRNLINE_TRUNCATED = 0x29735A1C,      /* not the bytes of one manifest */
    FIRNLINE_NO_MANIFEST = 0x7953A6F2,    /* it does not begin with FIRN */
    FIRNLINE_UNKNOWN_FORMAT = 0x32899387, /* a format, flag or reserved byte of another time */
    FIRNLINE_UNKNOWN_KEY = 0x062E3FE8,    /* signed with none of the keys that are trusted */
    FIRNLINE_BAD_SIGNATURE = 0x4497C815,  /* not what that key signed */
    FIRNLINE_OTHER_MODEL = 0x0790EEDB,    /* of another ensemble or target */
    FIRNLINE_ROLLBACK = 0x4860C967,       /* older than what this device has run */
    FIRNLINE_NO_IDENTITY = 0x32C66D0A,    /* it does not say what the constants are */
    FIRNLINE_CHANGED_MODEL = 0x453531F6,  /* the constants in flash are not the signed ones */
    FIRNLINE_BELOW_THRESHOLD = 0x02DB7371, /* fewer keys than were asked for signed the same */
    FIRNLINE_SELF_TEST_DIFFERS = 0x7CC81DB9 /* for the caller's use: see example_boot.c */
} firnline_status;

/* What a device trusts; all of it lies where only the bootloader writes. */
typedef struct {
    const uint8_t (*keys)[32]; /* Ed25519 public keys: the present one, and the next one */
    size_t key_count;
    const char *ensemble;
    const char *target;
    uint32_t counter; /* of the newest manifest that this device has run; 0 at first */
} firnline_trust;

/* How a generated model tells its constants: `<name>_identity`, compiled with <NAME>_IDENTITY. */
typedef void (*firnline_identity)(void (*update)(void *, const void *, size_t), void *context);

/* Whether a manifest is signed by a trusted key, for this model, and not older than the counter.
 * Until this has returned FIRNLINE_ACCEPTED, nothing of a manifest is to be believed. Where others
 * can write what holds it, such as an external flash, check a copy in RAM, and go on with that. */
firnline_status firnline_manifest_verify(const uint8_t *manifest, size_t length,
                                         const firnline_trust *trust);

/* Likewise, by so many different keys, each of which signed the same: for a device on which no one
 * key may put a model. `manifests` are just that many in a row, or FIRNLINE_TRUNCATED. Go on with
 * the first of them. */
firnline_status firnline_manifests_verify(const uint8_t *manifests, size_t length,
                                          const firnline_trust *trust, size_t threshold);

/* Whether the model's constants, as they lie in flash, are those of a manifest that was accepted. */
firnline_status firnline_model_verify(const uint8_t manifest[FIRNLINE_MANIFEST_BYTES],
                                      firnline_identity identity);

/* Counter of a manifest that was accepted: to be stored once the model has run well, so that
 * nothing older is accepted from then on. */
uint32_t firnline_manifest_counter(const uint8_t manifest[FIRNLINE_MANIFEST_BYTES]);

#ifdef __cplusplus
}
#endif

#endif
