/* SPDX-License-Identifier: Apache-2.0 */
#include "firnline_sha2.h"

/* The first 64 bits of the fractions of the cube roots of the first 80 primes (FIPS 180-4, 4.2.3),
 * of which SHA-256 takes the first 32 bits of the first 64 (4.2.2). */
static const uint64_t ROUNDS[80] = {
    0x428a2f98d728ae22u, 0x7137449123ef65cdu, 0xb5c0fbcfec4d3b2fu, 0xe9b5dba58189dbbcu,
    0x3956c25bf348b538u, 0x59f111f1b605d019u, 0x923f82a4af194f9bu, 0xab1c5ed5da6d8118u,
    0xd807aa98a3030242u, 0x12835b0145706fbeu, 0x243185be4ee4b28cu, 0x550c7dc3d5ffb4e2u,
    0x72be5d74f27b896fu, 0x80deb1fe3b1696b1u, 0x9bdc06a725c71235u, 0xc19bf174cf692694u,
    0xe49b69c19ef14ad2u, 0xefbe4786384f25e3u, 0x0fc19dc68b8cd5b5u, 0x240ca1cc77ac9c65u,
    0x2de92c6f592b0275u, 0x4a7484aa6ea6e483u, 0x5cb0a9dcbd41fbd4u, 0x76f988da831153b5u,
    0x983e5152ee66dfabu, 0xa831c66d2db43210u, 0xb00327c898fb213fu, 0xbf597fc7beef0ee4u,
    0xc6e00bf33da88fc2u, 0xd5a79147930aa725u, 0x06ca6351e003826fu, 0x142929670a0e6e70u,
    0x27b70a8546d22ffcu, 0x2e1b21385c26c926u, 0x4d2c6dfc5ac42aedu, 0x53380d139d95b3dfu,
    0x650a73548baf63deu, 0x766a0abb3c77b2a8u, 0x81c2c92e47edaee6u, 0x92722c851482353bu,
    0xa2bfe8a14cf10364u, 0xa81a664bbc423001u, 0xc24b8b70d0f89791u, 0xc76c51a30654be30u,
    0xd192e819d6ef5218u, 0xd69906245565a910u, 0xf40e35855771202au, 0x106aa07032bbd1b8u,
    0x19a4c116b8d2d0c8u, 0x1e376c085141ab53u, 0x2748774cdf8eeb99u, 0x34b0bcb5e19b48a8u,
    0x391c0cb3c5c95a63u, 0x4ed8aa4ae3418acbu, 0x5b9cca4f7763e373u, 0x682e6ff3d6b2b8a3u,
    0x748f82ee5defb2fcu, 0x78a5636f43172f60u, 0x84c87814a1f0ab72u, 0x8cc702081a6439ecu,
    0x90befffa23631e28u, 0xa4506cebde82bde9u, 0xbef9a3f7b2c67915u, 0xc67178f2e372532bu,
    0xca273eceea26619cu, 0xd186b8c721c0c207u, 0xeada7dd6cde0eb1eu, 0xf57d4f7fee6ed178u,
    0x06f067aa72176fbau, 0x0a637dc5a2c898a6u, 0x113f9804bef90daeu, 0x1b710b35131c471bu,
    0x28db77f523047d84u, 0x32caab7b40c72493u, 0x3c9ebe0a15c9bebcu, 0x431d67c49c100d4cu,
    0x4cc5d4becb3e42b6u, 0x597f299cfc657e2au, 0x5fcb6fab3ad6faecu, 0x6c44198c4a475817u};

/* The same of the square roots of the first 8 primes (5.3.5 and 5.3.3). */
static const uint64_t BEGINNING[8] = {
    0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu, 0x3c6ef372fe94f82bu, 0xa54ff53a5f1d36f1u,
    0x510e527fade682d1u, 0x9b05688c2b3e6c1fu, 0x1f83d9abfb41bd6bu, 0x5be0cd19137e2179u};

#define ROTATED32(x, by) (((x) >> (by)) | ((x) << (32u - (by))))
#define ROTATED64(x, by) (((x) >> (by)) | ((x) << (64u - (by))))
#define CHOICE(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define MAJORITY(x, y, z) (((x) & (y)) | ((z) & ((x) | (y))))

static uint32_t load32(const uint8_t *from)
{
    return ((uint32_t)from[0] << 24) | ((uint32_t)from[1] << 16) | ((uint32_t)from[2] << 8)
           | (uint32_t)from[3];
}

static uint64_t load64(const uint8_t *from)
{
    return ((uint64_t)load32(from) << 32) | load32(&from[4]);
}

static void store32(uint8_t *to, uint32_t value)
{
    to[0] = (uint8_t)(value >> 24);
    to[1] = (uint8_t)(value >> 16);
    to[2] = (uint8_t)(value >> 8);
    to[3] = (uint8_t)value;
}

static void store64(uint8_t *to, uint64_t value)
{
    store32(to, (uint32_t)(value >> 32));
    store32(&to[4], (uint32_t)value);
}

/* One block (FIPS 180-4, 6.2.2); the message schedule is kept 16 words at a time. */
static void compress256(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[16];
    uint32_t a = state[0];
    uint32_t b = state[1];
    uint32_t c = state[2];
    uint32_t d = state[3];
    uint32_t e = state[4];
    uint32_t f = state[5];
    uint32_t g = state[6];
    uint32_t h = state[7];
    for (uint32_t t = 0u; t < 64u; t++) {
        if (t < 16u) {
            w[t] = load32(&block[4u * t]);
        } else {
            const uint32_t early = w[(t + 1u) & 15u];
            const uint32_t late = w[(t + 14u) & 15u];
            w[t & 15u] += (ROTATED32(early, 7u) ^ ROTATED32(early, 18u) ^ (early >> 3u))
                          + w[(t + 9u) & 15u]
                          + (ROTATED32(late, 17u) ^ ROTATED32(late, 19u) ^ (late >> 10u));
        }
        const uint32_t upper = ROTATED32(e, 6u) ^ ROTATED32(e, 11u) ^ ROTATED32(e, 25u);
        const uint32_t lower = ROTATED32(a, 2u) ^ ROTATED32(a, 13u) ^ ROTATED32(a, 22u);
        const uint32_t first = h + upper + CHOICE(e, f, g)
                               + (uint32_t)(ROUNDS[t] >> 32) + w[t & 15u];
        const uint32_t second = lower + MAJORITY(a, b, c);
        h = g;
        g = f;
        f = e;
        e = d + first;
        d = c;
        c = b;
        b = a;
        a = first + second;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

void firnline_sha256_begin(firnline_sha256 *hash)
{
    for (uint32_t i = 0u; i < 8u; i++) {
        hash->state[i] = (uint32_t)(BEGINNING[i] >> 32);
    }
    hash->length = 0u;
}

void firnline_sha256_update(void *hash, const void *bytes, size_t length)
{
    firnline_sha256 *const mine = (firnline_sha256 *)hash;
    const uint8_t *from = (const uint8_t *)bytes;
    while (length > 0u) {
        const size_t held = (size_t)(mine->length % 64u);
        const size_t part = ((length < (64u - held)) ? length : (64u - held));
        for (size_t i = 0u; i < part; i++) {
            mine->block[held + i] = from[i];
        }
        mine->length += part;
        from += part;
        length -= part;
        if ((held + part) == 64u) {
            compress256(mine->state, mine->block);
        }
    }
}

void firnline_sha256_end(firnline_sha256 *hash, uint8_t digest[FIRNLINE_SHA256_BYTES])
{
    const uint8_t one = 0x80u;
    const uint8_t zero = 0u;
    uint8_t bits[8];
    store64(bits, hash->length * 8u);
    firnline_sha256_update(hash, &one, 1u);
    while ((hash->length % 64u) != 56u) {
        firnline_sha256_update(hash, &zero, 1u);
    }
    firnline_sha256_update(hash, bits, sizeof bits);
    for (uint32_t i = 0u; i < 8u; i++) {
        store32(&digest[4u * i], hash->state[i]);
    }
}

/* One block (FIPS 180-4, 6.4.2); the message schedule is kept 16 words at a time. */
static void compress512(uint64_t state[8], const uint8_t *block)
{
    uint64_t w[16];
    uint64_t a = state[0];
    uint64_t b = state[1];
    uint64_t c = state[2];
    uint64_t d = state[3];
    uint64_t e = state[4];
    uint64_t f = state[5];
    uint64_t g = state[6];
    uint64_t h = state[7];
    for (uint32_t t = 0u; t < 80u; t++) {
        if (t < 16u) {
            w[t] = load64(&block[8u * t]);
        } else {
            const uint64_t early = w[(t + 1u) & 15u];
            const uint64_t late = w[(t + 14u) & 15u];
            w[t & 15u] += (ROTATED64(early, 1u) ^ ROTATED64(early, 8u) ^ (early >> 7u))
                          + w[(t + 9u) & 15u]
                          + (ROTATED64(late, 19u) ^ ROTATED64(late, 61u) ^ (late >> 6u));
        }
        const uint64_t upper = ROTATED64(e, 14u) ^ ROTATED64(e, 18u) ^ ROTATED64(e, 41u);
        const uint64_t lower = ROTATED64(a, 28u) ^ ROTATED64(a, 34u) ^ ROTATED64(a, 39u);
        const uint64_t first = h + upper + CHOICE(e, f, g)
                               + ROUNDS[t] + w[t & 15u];
        const uint64_t second = lower + MAJORITY(a, b, c);
        h = g;
        g = f;
        f = e;
        e = d + first;
        d = c;
        c = b;
        b = a;
        a = first + second;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

void firnline_sha512_begin(firnline_sha512 *hash)
{
    for (uint32_t i = 0u; i < 8u; i++) {
        hash->state[i] = BEGINNING[i];
    }
    hash->length = 0u;
}

void firnline_sha512_update(firnline_sha512 *hash, const void *bytes, size_t length)
{
    firnline_sha512 *const mine = hash;
    const uint8_t *from = (const uint8_t *)bytes;
    while (length > 0u) {
        const size_t held = (size_t)(mine->length % 128u);
        const size_t part = ((length < (128u - held)) ? length : (128u - held));
        for (size_t i = 0u; i < part; i++) {
            mine->block[held + i] = from[i];
        }
        mine->length += part;
        from += part;
        length -= part;
        if ((held + part) == 128u) {
            compress512(mine->state, mine->block);
        }
    }
}

void firnline_sha512_end(firnline_sha512 *hash, uint8_t digest[FIRNLINE_SHA512_BYTES])
{
    const uint8_t one = 0x80u;
    const uint8_t zero = 0u;
    uint8_t bits[16] = {0};
    store64(&bits[8], hash->length * 8u);
    firnline_sha512_update(hash, &one, 1u);
    while ((hash->length % 128u) != 112u) {
        firnline_sha512_update(hash, &zero, 1u);
    }
    firnline_sha512_update(hash, bits, sizeof bits);
    for (uint32_t i = 0u; i < 8u; i++) {
        store64(&digest[8u * i], hash->state[i]);
    }
}
