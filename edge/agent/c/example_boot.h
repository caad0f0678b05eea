/* SPDX-License-Identifier: Apache-2.0 */
#ifndef EXAMPLE_BOOT_H
#define EXAMPLE_BOOT_H

#include "firnline_verify.h"

/* Whether the model in this firmware may run.
 *
 * `manifest`: firmware-manifest.bin as it lies in flash. `keys`: Ed25519 public keys that may sign
 * it. `counter`: of the newest manifest run so far; raised when this one has passed everything. */
firnline_status example_boot(const uint8_t *manifest, size_t length, const uint8_t keys[][32],
                             size_t key_count, uint32_t *counter);

#endif
