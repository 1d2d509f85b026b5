/* The command line of an OCI runtime: keel as a front of the resident planner. docs/keelson-oci.md. */
#ifndef KEEL_FRONT_H
#define KEEL_FRONT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* `keelson-oci …`. Returns the process's exit code. */
int front_main(int argc, char **argv);

/* ---- planner.c ---- */

/* A connection to the planner of this user, mount namespace and build, which is started where there is none. -errno; `text` says what failed. */
int planner_connect(const char *home, char *text, size_t text_size);
/* The directory that holds native/ and dist/, from where this program lies. 0 or -errno. */
int planner_home(char *into, size_t size);

/* ---- supervise.c ---- */

struct supervised {
	pid_t pid;
	int pidfd, terminal; /* terminal: the master of its pseudo-terminal, or -1 */
};

/* Forwards signals and, with a terminal, its bytes until the process ends. Returns its wait status. */
int supervise(const struct supervised *process);
/* Keeps signals that `supervise` forwards waiting for it. */
void supervise_prepare(void);

#endif
