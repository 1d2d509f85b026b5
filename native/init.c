/*
 * `keel init COMMAND…`: process 1 of a container that asked for one (--init). Runs the command as its child in a process group of its own
 * with the terminal in the foreground, forwards every signal to it, reaps whatever ends, and ends as the command ends.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keel.h"

_Noreturn static void become_command(char **argv, const sigset_t *before)
{
	setpgid(0, 0);
	tcsetpgrp(STDIN_FILENO, getpgrp()); /* SIGTTOU is blocked still, or this would stop us */
	sigprocmask(SIG_SETMASK, before, NULL);
	execvp(argv[0], argv);
	int code = errno == ENOENT ? 127 : 126;
	dprintf(STDERR_FILENO, "exec: \"%s\": %s\n", argv[0], code == 127 ? "executable file not found in $PATH" : strerror(errno));
	_exit(code);
}

/* Reaps all that has ended; the exit code of `command` once it is among them, else -1. */
static int reap(pid_t command)
{
	int code = -1, status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		if (pid == command)
			code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return code;
}

int keel_init(char **argv)
{
	sigset_t all, before;
	sigfillset(&all);
	/* Faults of keel itself must not be held back. */
	const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
	for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
		sigdelset(&all, faults[i]);
	sigprocmask(SIG_SETMASK, &all, &before);
	if (getpid() != 1)
		prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	pid_t command = fork();
	if (command < 0)
		return 126;
	if (command == 0)
		become_command(argv, &before);
	for (;;) {
		siginfo_t info;
		int number = sigwaitinfo(&all, &info);
		if (number < 0)
			continue;
		if (number != SIGCHLD) {
			kill(command, number);
			continue;
		}
		int code = reap(command);
		if (code >= 0)
			return code;
	}
}
