/* SPDX-License-Identifier: Apache-2.0 */
#include "firnline_verify.h"

#include "firnline_bytes.h"
#include "firnline_ed25519.h"
#include "firnline_sha2.h"

#define FORMAT 1u
#define HAS_IDENTITY 1u
#define NAME_BYTES 32u

/* Where each field begins. */
enum {
    AT_FORMAT = 4,
    AT_FLAGS = 6,
    AT_COUNTER = 8,
    AT_LENGTH = 12,
    AT_ENSEMBLE = 16,
    AT_TARGET = 48,
    AT_IDENTITY = 144,
    AT_KEY = 176,
    AT_RESERVED = 184,
    AT_SIGNATURE = 192
};

/* SHA-256 of the constants, and how many bytes went into it. */
typedef struct {
    firnline_sha256 hash;
    uint32_t length;
} constants;

static uint32_t word16(const uint8_t *at)
{
    return (uint32_t)at[0] | ((uint32_t)at[1] << 8);
}

static uint32_t word32(const uint8_t *at)
{
    return word16(at) | (word16(&at[2]) << 16);
}

/* Whether a field holds exactly this name, with zeros behind it. */
static int is_named(const uint8_t *field, const char *name)
{
    uint32_t i = 0u;
    while ((i < NAME_BYTES) && (name[i] != '\0') && (field[i] == (uint8_t)name[i])) {
        i++;
    }
    const int whole = (name[i] == '\0');
    while ((i < NAME_BYTES) && (field[i] == 0u)) {
        i++;
    }
    return (whole != 0) && (i == NAME_BYTES);
}

/* The trusted key that a manifest names; NULL where there is none. */
static const uint8_t *named_key(const uint8_t *manifest, const firnline_trust *trust)
{
    for (size_t i = 0u; i < trust->key_count; i++) {
        firnline_sha256 hash;
        uint8_t digest[FIRNLINE_SHA256_BYTES];
        firnline_sha256_begin(&hash);
        firnline_sha256_update(&hash, trust->keys[i], FIRNLINE_ED25519_KEY_BYTES);
        firnline_sha256_end(&hash, digest);
        if (firnline_same_bytes(digest, &manifest[AT_KEY], AT_RESERVED - AT_KEY) != 0) {
            return trust->keys[i];
        }
    }
    return NULL;
}

firnline_status firnline_manifest_verify(const uint8_t *manifest, size_t length,
                                         const firnline_trust *trust)
{
    static const uint8_t magic[AT_FORMAT] = {0x46u, 0x49u, 0x52u, 0x4Eu}; /* FIRN */
    static const uint8_t none[AT_SIGNATURE - AT_RESERVED] = {0u};
    if (length != FIRNLINE_MANIFEST_BYTES) {
        return FIRNLINE_TRUNCATED;
    }
    if (firnline_same_bytes(manifest, magic, sizeof magic) == 0) {
        return FIRNLINE_NO_MANIFEST;
    }
    if ((word16(&manifest[AT_FORMAT]) != FORMAT) || (word16(&manifest[AT_FLAGS]) > HAS_IDENTITY)
        || (firnline_same_bytes(&manifest[AT_RESERVED], none, sizeof none) == 0)) {
        return FIRNLINE_UNKNOWN_FORMAT;
    }
    const uint8_t *const key = named_key(manifest, trust);
    if (key == NULL) {
        return FIRNLINE_UNKNOWN_KEY;
    }
    if (firnline_ed25519_verify(&manifest[AT_SIGNATURE], manifest, AT_SIGNATURE, key) != 1) {
        return FIRNLINE_BAD_SIGNATURE;
    }
    if ((is_named(&manifest[AT_ENSEMBLE], trust->ensemble) == 0)
        || (is_named(&manifest[AT_TARGET], trust->target) == 0)) {
        return FIRNLINE_OTHER_MODEL;
    }
    if (firnline_manifest_counter(manifest) < trust->counter) {
        return FIRNLINE_ROLLBACK;
    }
    return FIRNLINE_ACCEPTED;
}

/* Whether one of the manifests before this one was signed by the same key. */
static int is_repeated(const uint8_t *manifests, size_t place)
{
    for (size_t i = 0u; i < place; i++) {
        if (firnline_same_bytes(&manifests[(i * FIRNLINE_MANIFEST_BYTES) + AT_KEY],
                                &manifests[(place * FIRNLINE_MANIFEST_BYTES) + AT_KEY],
                                AT_RESERVED - AT_KEY)
            != 0) {
            return 1;
        }
    }
    return 0;
}

firnline_status firnline_manifests_verify(const uint8_t *manifests, size_t length,
                                          const firnline_trust *trust, size_t threshold)
{
    if (threshold == 0u) {
        return FIRNLINE_BELOW_THRESHOLD;
    }
    if (((length / FIRNLINE_MANIFEST_BYTES) != threshold)
        || ((length % FIRNLINE_MANIFEST_BYTES) != 0u)) {
        return FIRNLINE_TRUNCATED;
    }
    for (size_t i = 0u; i < threshold; i++) {
        const uint8_t *const manifest = &manifests[i * FIRNLINE_MANIFEST_BYTES];
        const firnline_status status =
            firnline_manifest_verify(manifest, FIRNLINE_MANIFEST_BYTES, trust);
        if (status != FIRNLINE_ACCEPTED) {
            return status;
        }
        if ((firnline_same_bytes(manifests, manifest, AT_KEY) == 0)
            || (is_repeated(manifests, i) != 0)) {
            return FIRNLINE_BELOW_THRESHOLD;
        }
    }
    return FIRNLINE_ACCEPTED;
}

static void add_constants(void *context, const void *bytes, size_t length)
{
    constants *const all = (constants *)context;
    firnline_sha256_update(&all->hash, bytes, length);
    all->length += (uint32_t)length;
}

firnline_status firnline_model_verify(const uint8_t manifest[FIRNLINE_MANIFEST_BYTES],
                                      firnline_identity identity)
{
    constants found;
    uint8_t digest[FIRNLINE_SHA256_BYTES];
    if (word16(&manifest[AT_FLAGS]) != HAS_IDENTITY) {
        return FIRNLINE_NO_IDENTITY;
    }
    firnline_sha256_begin(&found.hash);
    found.length = 0u;
    identity(add_constants, &found);
    firnline_sha256_end(&found.hash, digest);
    if ((found.length != word32(&manifest[AT_LENGTH]))
        || (firnline_same_bytes(digest, &manifest[AT_IDENTITY], sizeof digest) == 0)) {
        return FIRNLINE_CHANGED_MODEL;
    }
    return FIRNLINE_ACCEPTED;
}

uint32_t firnline_manifest_counter(const uint8_t manifest[FIRNLINE_MANIFEST_BYTES])
{
    return word32(&manifest[AT_COUNTER]);
}
