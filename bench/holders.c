/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * holders PROCESSES HALF_CLOSED: so many processes, each with a connection over loopback to itself (two sockets). The
 * first HALF_CLOSED have shut one end down: CLOSE_WAIT and FIN_WAIT2. Prints how many there are, fewer where the
 * machine makes no more, and holds them until stdin ends; they end with it, whatever ends it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 30000, PORT = 9100 };

static void die(const char *what) {
  fprintf(stderr, "holders: %s: %s\n", what, strerror(errno));
  exit(1);
}

static struct sockaddr_in address(void) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  return at;
}

static int listen_here(void) {
  struct sockaddr_in at = address();
  int one = 1;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
      bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 16) != 0) {
    die("listen");
  }
  return fd;
}

/* Both ends of one connection. One process at a time: the connection that it accepts is its own. */
static bool connect_to_itself(int listener, bool half_closed) {
  struct sockaddr_in at = address();
  char byte = 0;
  int near = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (near < 0 || connect(near, (struct sockaddr *)&at, sizeof at) != 0) {
    return false;
  }
  int far = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  if (far < 0 || write(near, &byte, 1) != 1 || read(far, &byte, 1) != 1) {
    return false;
  }
  return !half_closed || (shutdown(near, SHUT_WR) == 0 && read(far, &byte, 1) == 0);
}

/* Returns in the parent alone. What the child could not do is the errno that it says, of one byte. */
static pid_t start(int listener, int said, bool half_closed) {
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid != 0) {
    return pid;
  }
  prctl(PR_SET_NAME, "crowded");
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) {
    exit(1);
  }
  errno = 0;
  char failure = connect_to_itself(listener, half_closed) ? 0 : (char)(errno != 0 ? errno : EIO);
  if (write(said, &failure, 1) != 1 || failure != 0) {
    exit(1);
  }
  close(listener);
  close(said);
  close(STDIN_FILENO);
  close(STDOUT_FILENO);
  for (;;) {
    pause();
  }
}

static int number(const char *text, int most) {
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno != 0 || *end != '\0' || end == text || value < 0 || value > most) {
    fprintf(stderr, "holders: %s: want a number from 0 to %d\n", text, most);
    exit(2);
  }
  return (int)value;
}

int main(int argc, char **argv) {
  static pid_t children[MOST];
  if (argc != 3) {
    fprintf(stderr, "usage: holders PROCESSES HALF_CLOSED\n");
    return 2;
  }
  int wanted = number(argv[1], MOST);
  int half_closed = number(argv[2], wanted);
  int listener = listen_here();
  int said[2];
  if (pipe(said) != 0) {
    die("pipe");
  }
  int made = 0;
  char byte = 0;
  for (; made < wanted; ++made) {
    children[made] = start(listener, said[1], made < half_closed);
    if (children[made] < 0) {
      break; /* no more pids, or no more memory */
    }
    if (read(said[0], &byte, 1) != 1 || byte != 0) {
      errno = byte;
      die("a connection");
    }
  }
  printf("%d\n", made);
  fflush(stdout);
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  for (int i = 0; i < made; ++i) {
    kill(children[i], SIGKILL);
  }
  for (int i = 0; i < made; ++i) {
    waitpid(children[i], NULL, 0);
  }
  return 0;
}
