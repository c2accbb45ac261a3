// SPDX-License-Identifier: BSD-2-Clause
#include "actor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct slot slots[MAX_SLOTS];

const struct slot *slot_at(size_t index) { return index < MAX_SLOTS ? &slots[index] : NULL; }

static struct slot *find(const char *name) {
  for (size_t i = 0; i < MAX_SLOTS; i++)
    if (strcmp(slots[i].name, name) == 0) return &slots[i];
  return NULL;
}

int slot_fd(const char *name) {
  const struct slot *slot = name && *name ? find(name) : NULL;
  if (slot) return slot->fd;
  errno = EBADF;
  return -1;
}

int slot_set(const char *name, int fd) {
  struct slot *slot = find(name);
  if (!slot) slot = find("");
  if (!slot || strlen(name) >= SLOT_NAME) {
    errno = ENOSPC;
    return -1;
  }
  (void)snprintf(slot->name, sizeof slot->name, "%s", name);
  slot->fd = fd;
  return fd;
}

void slot_forget(const char *name) {
  struct slot *slot = find(name);
  if (slot) slot->name[0] = '\0';
}
