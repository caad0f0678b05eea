/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A boot step for the ensemble `refrigeration` on a Cortex-M4: put your own names in its place.
 * Build it with the files beside it, and the model with REFRIGERATION_IDENTITY defined.
 */
#include "example_boot.h"

#include "refrigeration.h"
#include "refrigeration_test_vectors.h"

firnline_status example_boot(const uint8_t *manifest, size_t length, const uint8_t keys[][32],
                             size_t key_count, uint32_t *counter)
{
    static refrigeration_context context;
    const firnline_trust trust = {
        .keys = keys,
        .key_count = key_count,
        .ensemble = "refrigeration",
        .target = "mcu-cortex-m4",
        .counter = *counter,
    };
    firnline_status status = firnline_manifest_verify(manifest, length, &trust);
    if (status == FIRNLINE_ACCEPTED) {
        status = firnline_model_verify(manifest, refrigeration_identity);
    }
    if ((status == FIRNLINE_ACCEPTED) && (refrigeration_self_test(&context) != 0u)) {
        status = FIRNLINE_SELF_TEST_DIFFERS;
    }
    if (status == FIRNLINE_ACCEPTED) {
        /* Only now: a firmware that does not run must not keep the one before it from coming back.
         * Keep it where only the bootloader writes (option bytes, RPMB, one-time memory). */
        *counter = firnline_manifest_counter(manifest);
    }
    return status;
}
