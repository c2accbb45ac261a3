// SPDX-License-Identifier: BSD-2-Clause
// actor NAME CPU [SOCKET]: reads commands, one a line, from the unix socket SOCKET (else stdin), performs each and
// answers with one JSON line. `@T command` performs it in thread T; `fork NAME` makes a child that connects to SOCKET
// for commands of its own. The calls are in actor_calls.c.
#define _GNU_SOURCE
#include "actor.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_THREADS = 8, LINE = 512 };

static const char *control_path;
static FILE *commands;

struct thread {
  char name[SLOT_NAME];
  pthread_t id;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  const struct command *work;  // NULL once done
};
static struct thread threads[MAX_THREADS];

static void perform(const struct command *command);

static void die(const char *what) {
  perror(what);
  _exit(70);
}

// -- threads: each waits for one command at a time, and its giver for its end

static void *thread_main(void *argument) {
  struct thread *self = argument;
  char comm[SLOT_NAME];
  // Another name than the leader's: a trace that names the thread and not the process is then found out.
  (void)snprintf(comm, sizeof comm, "t-%.12s", self->name);
  (void)prctl(PR_SET_NAME, comm);
  (void)pthread_mutex_lock(&self->lock);
  for (;;) {
    while (!self->work) (void)pthread_cond_wait(&self->changed, &self->lock);
    perform(self->work);
    self->work = NULL;
    (void)pthread_cond_broadcast(&self->changed);
  }
  return NULL;
}

static struct thread *thread_named(const char *name) {
  for (size_t i = 0; i < MAX_THREADS; i++) {
    struct thread *thread = &threads[i];
    if (strcmp(thread->name, name) == 0) return thread;
    if (thread->name[0] != '\0') continue;
    (void)snprintf(thread->name, sizeof thread->name, "%s", name);
    (void)pthread_mutex_init(&thread->lock, NULL);
    (void)pthread_cond_init(&thread->changed, NULL);
    if (pthread_create(&thread->id, NULL, thread_main, thread) != 0) die("pthread_create");
    return thread;
  }
  errno = EAGAIN;
  die("too many threads");
  return NULL;
}

static void perform_in_thread(const char *name, const struct command *command) {
  struct thread *thread = thread_named(name);
  (void)pthread_mutex_lock(&thread->lock);
  thread->work = command;
  (void)pthread_cond_broadcast(&thread->changed);
  while (thread->work) (void)pthread_cond_wait(&thread->changed, &thread->lock);
  (void)pthread_mutex_unlock(&thread->lock);
}

// -- processes

static void take_commands_from(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) die(path);
  if (dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0) die("dup2");
  if (fd > STDOUT_FILENO) (void)close(fd);
}

static void announce(void) {
  char call[] = "start";
  const struct command start = {.argc = 1, .argv = {call}};
  report(&start, -1, (struct endpoints){0}, 0, 0);
}

// fork NAME: the parent is told the pid; the child goes on with a connection of its own
static long do_fork(const char *name) {
  if (!control_path) {
    errno = ENOTSUP;
    return -1;
  }
  const pid_t pid = fork();
  if (pid != 0) return pid;
  report_set_comm(name);
  memset(threads, 0, sizeof threads);
  take_commands_from(control_path);
  commands = fdopen(STDIN_FILENO, "re");
  if (!commands) die("fdopen");
  announce();
  return 0;
}

// exec NAME [PATH]: the same program again (or its copy at PATH) under another name; descriptors without cloexec stay,
// under their slots
static void do_exec(const char *name, const char *path, const char *cpu) {
  static char text[MAX_SLOTS][SLOT_NAME + 16];
  char *arguments[MAX_SLOTS + 6];
  int count = 0;
  arguments[count++] = strdup("actor");
  arguments[count++] = strdup(name);
  arguments[count++] = strdup(cpu);
  arguments[count++] = strdup(control_path ? control_path : "-");
  arguments[count++] = strdup("--resumed");
  const struct slot *slot;
  for (size_t i = 0; (slot = slot_at(i)) != NULL; i++) {
    if (slot->name[0] == '\0') continue;
    (void)snprintf(text[i], sizeof text[i], "%s=%d", slot->name, slot->fd);
    arguments[count++] = text[i];
  }
  arguments[count] = NULL;
  (void)execv(path, arguments);
  die("exec");
}

// comm HEX: any bytes as a name
static long do_comm(const char *hex) {
  char name[16] = "";
  for (size_t i = 0; i < sizeof name - 1 && hex[2 * i] && hex[2 * i + 1]; i++) {
    const char digits[] = {hex[2 * i], hex[2 * i + 1], '\0'};
    name[i] = (char)strtoul(digits, NULL, 16);
  }
  report_set_comm(name);
  return 0;
}

static const char *cpu_text = "0";

static void perform(const struct command *command) {
  const char *name = command->argv[0];
  const char *first = command->argc > 1 ? command->argv[1] : "";
  bool known = true;
  long result = 0;
  errno = 0;
  if (strcmp(name, "exit") == 0) exit((int)strtol(first, NULL, 10));
  if (strcmp(name, "exec") == 0) do_exec(first, command->argc > 2 ? command->argv[2] : "/proc/self/exe", cpu_text);
  const struct endpoints before = endpoints_of(slot_fd(first));
  errno = 0;
  if (strcmp(name, "fork") == 0) {
    result = do_fork(first);
    if (result == 0) return;  // the child has announced itself
  } else if (strcmp(name, "comm") == 0) {
    result = do_comm(first);
  } else {
    result = socket_call(command, &known);
  }
  const int error = result < 0 ? errno : 0;
  if (!known) (void)fprintf(stderr, "actor: no such call: %s\n", name);
  report(command, slot_fd(first), before, result, error);
}

static void perform_line(char *line) {
  struct command command = {0};
  char *thread = NULL;
  char *rest = NULL;
  for (char *word = strtok_r(line, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
    if (*word == '@' && command.argc == 0)
      thread = word + 1;
    else if (command.argc < MAX_ARGUMENTS)
      command.argv[command.argc++] = word;
  }
  if (command.argc == 0) return;
  if (thread)
    perform_in_thread(thread, &command);
  else
    perform(&command);
}

static void pin(const char *cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((size_t)strtoul(cpu, NULL, 10), &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) die("sched_setaffinity");
}

int main(int argc, char **argv) {
  if (argc < 3) {
    (void)fprintf(stderr, "usage: actor NAME CPU [SOCKET]\n");
    return 2;
  }
  const bool resumed = argc > 4;
  report_set_comm(argv[1]);
  cpu_text = argv[2];
  pin(cpu_text);
  (void)signal(SIGPIPE, SIG_IGN);
  (void)signal(SIGCHLD, SIG_IGN);  // ended children leave no zombie: the runner waits for their pid to go
  if (argc > 3 && strcmp(argv[3], "-") != 0) control_path = argv[3];
  if (control_path && !resumed) take_commands_from(control_path);
  for (int i = 5; i < argc; i++) {
    char *equals = strchr(argv[i], '=');
    if (!equals) continue;
    *equals = '\0';
    (void)slot_set(argv[i], (int)strtol(equals + 1, NULL, 10));
  }
  commands = stdin;
  announce();
  char line[LINE];
  while (fgets(line, sizeof line, commands)) perform_line(line);
  return 0;
}
