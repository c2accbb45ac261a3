// SPDX-License-Identifier: BSD-2-Clause
#define _GNU_SOURCE
#include "actor.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int output = STDOUT_FILENO;
static char leader_comm[16];

void report_set_output(int fd) { output = fd; }

void report_set_comm(const char *comm) {
  (void)prctl(PR_SET_NAME, comm);
  (void)prctl(PR_GET_NAME, leader_comm);
}

const char *report_comm(void) { return leader_comm; }

// Field 22 of /proc/self/stat, in ticks of the clock; 0 where /proc is another pid namespace's.
static unsigned long long start_ticks(void) {
  char text[1024];
  FILE *file = fopen("/proc/self/stat", "re");
  if (!file) return 0;
  const size_t length = fread(text, 1, sizeof text - 1, file);
  (void)fclose(file);
  text[length] = '\0';
  const char *at = strrchr(text, ')');  // the name before it may hold blanks and brackets
  for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
  return at ? strtoull(at + 1, NULL, 10) : 0;
}

static unsigned long long netns_inode(void) {
  struct stat status;
  return stat("/proc/thread-self/ns/net", &status) == 0 ? (unsigned long long)status.st_ino : 0;
}

static void write_address(char *out, size_t size, const struct sockaddr_storage *address) {
  char text[INET6_ADDRSTRLEN] = "";
  unsigned port = 0;
  if (address->ss_family == AF_INET) {
    struct sockaddr_in in;
    memcpy(&in, address, sizeof in);
    (void)inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
    port = ntohs(in.sin_port);
  } else if (address->ss_family == AF_INET6) {
    struct sockaddr_in6 in;
    memcpy(&in, address, sizeof in);
    (void)inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text);
    port = ntohs(in.sin6_port);
  } else {
    *out = '\0';
    return;
  }
  (void)snprintf(out, size, "[%s]:%u", text, port);
}

struct endpoints endpoints_of(int fd) {
  struct endpoints result = {0};
  struct sockaddr_storage address;
  socklen_t length = sizeof address;
  if (fd < 0) return result;
  if (getsockname(fd, (struct sockaddr *)&address, &length) == 0)
    write_address(result.local, sizeof result.local, &address);
  length = sizeof address;
  if (getpeername(fd, (struct sockaddr *)&address, &length) == 0)
    write_address(result.peer, sizeof result.peer, &address);
  return result;
}

// Bytes, not characters: each byte outside ASCII becomes the code point of its value, so that the reader gets them
// back.
static void put_string(FILE *out, const char *text) {
  (void)fputc('"', out);
  for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
    if (*at < 0x20 || *at >= 0x7f || *at == '"' || *at == '\\')
      (void)fprintf(out, "\\u%04x", *at);
    else
      (void)fputc(*at, out);
  }
  (void)fputc('"', out);
}

static void put_field(FILE *out, const char *key, const char *value) {
  (void)fprintf(out, ",\"%s\":", key);
  if (value && *value)
    put_string(out, value);
  else
    (void)fputs("null", out);
}

void report(const struct command *command, int fd, struct endpoints before, long result, int error) {
  char *line = NULL;
  size_t length = 0;
  struct endpoints now = endpoints_of(fd);
  FILE *out = open_memstream(&line, &length);
  if (!out) _exit(70);
  (void)fprintf(out, "{\"pid\":%d,\"start_ticks\":%llu", getpid(), start_ticks());
  put_field(out, "comm", leader_comm);
  put_field(out, "call", command->argv[0]);
  put_field(out, "slot", command->argc > 1 ? command->argv[1] : NULL);
  (void)fprintf(out, ",\"fd\":%d", fd);
  // A call may end the connection and with it the kernel's memory of the addresses.
  put_field(out, "local", *now.peer || !*before.peer ? now.local : before.local);
  put_field(out, "peer", *now.peer ? now.peer : before.peer);
  (void)fprintf(out, ",\"netns\":%llu,\"result\":%ld,\"errno\":%d}\n", netns_inode(), result, error);
  if (fclose(out) != 0) _exit(70);
  for (size_t done = 0; done < length;) {
    const ssize_t written = write(output, line + done, length - done);
    if (written <= 0) _exit(0);  // the runner is gone
    done += (size_t)written;
  }
  free(line);
}
