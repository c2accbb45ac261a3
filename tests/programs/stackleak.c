// SPDX-License-Identifier: BSD-2-Clause
// stackleak PORT: the function `handler` reads each connection to its end and forgets it; `dial` opens the other ends.
// Built with frame pointers: the stacks that a tracer takes have to name both.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS = 3 };

// Something is left to do after each call, so that none of these becomes a jump and loses its frame.
static volatile int done;

__attribute__((noinline)) static void handler(int fd) {
  char text[64];
  while (recv(fd, text, sizeof text, 0) > 0) done++;
}

__attribute__((noinline)) static void serve(int listener) {
  const int fd = accept(listener, NULL, NULL);
  if (fd < 0) _exit(70);
  handler(fd);
  done++;
  (void)printf("{\"name\":\"stackleak\",\"pid\":%d,\"comm\":\"stackleak\",\"fd\":%d}\n", getpid(), fd);
}

__attribute__((noinline)) static int dial(const struct sockaddr_in *address) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (const struct sockaddr *)address, sizeof *address) != 0) _exit(70);
  done++;
  return fd;
}

int main(int argc, char **argv) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  const int one = 1;
  if (argc != 2) return 2;
  address.sin_port = htons((uint16_t)strtol(argv[1], NULL, 10));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (const struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 8) != 0) return 70;
  for (int i = 0; i < CONNECTIONS; i++) {
    const int fd = dial(&address);
    if (send(fd, "hello", 5, 0) != 5) return 70;
    (void)close(fd);
    serve(listener);
  }
  (void)printf("{\"name\":\"stackleak\",\"pid\":%d,\"in_place\":true}\n", getpid());
  (void)fflush(stdout);
  for (;;) (void)pause();
}
