/* The parts of keel that main.c chooses among. */
#ifndef KEEL_H
#define KEEL_H

/*
 * Makes sure that this program can't be written to through /proc/<pid>/exe (CVE-2019-5736): where it isn't on a read-only mount already,
 * it executes itself again from one. Returns only when all is well; else -errno.
 */
int seal_self(char **argv);

/* Serves plans on the stream `client` until its end. Returns the process's exit code. */
int zygote_run(int client);

/* All signals at their defaults, none blocked: what a container's first process has to start with. */
void reset_signals(void);

/* Runs argv as process 1's child; returns its exit code. */
int keel_init(char **argv);

#endif
