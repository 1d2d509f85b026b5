/* What `run` and `exec` in the foreground do while the container's process runs. */
#include "front.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { BUFFER = 16 << 10, DRAIN_MS = 1000 };

struct relay {
	int terminal, from, to;
	struct termios before;
	bool raw;
	uint8_t in[BUFFER], out[BUFFER];
	size_t in_size, out_size;
};

static void forwarded(sigset_t *set)
{
	static const int never[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPIPE};
	sigfillset(set);
	for (size_t i = 0; i < sizeof never / sizeof *never; i++)
		sigdelset(set, never[i]);
}

void supervise_prepare(void)
{
	sigset_t set;
	forwarded(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static void copy_size(const struct relay *r)
{
	struct winsize size;
	if (ioctl(r->from, TIOCGWINSZ, &size) == 0 || ioctl(r->to, TIOCGWINSZ, &size) == 0)
		ioctl(r->terminal, TIOCSWINSZ, &size);
}

/* The container's terminal has its own line discipline: this one passes bytes on as they are, and that one adds no carriage return of its own. */
static void connect_terminal(struct relay *r)
{
	struct termios raw;
	if (tcgetattr(r->terminal, &raw) == 0) {
		raw.c_oflag &= ~(tcflag_t)ONLCR;
		tcsetattr(r->terminal, TCSANOW, &raw);
	}
	copy_size(r);
	if (tcgetattr(r->from, &r->before) < 0)
		return;
	raw = r->before;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST | ONLCR;
	r->raw = tcsetattr(r->from, TCSANOW, &raw) == 0;
}

/* Moves what goes one way. False when `from` has ended. */
static bool take(int from, uint8_t *buffer, size_t *size)
{
	if (*size == BUFFER)
		return true;
	ssize_t n = read(from, buffer + *size, BUFFER - *size);
	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	*size += (size_t)n;
	return true;
}

static void give(int to, uint8_t *buffer, size_t *size)
{
	ssize_t n = write(to, buffer, *size);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		n = (ssize_t)*size; /* nobody takes it any more */
	memmove(buffer, buffer + n, *size - (size_t)n);
	*size -= (size_t)n;
}

static void pass_signals(int signals, const struct supervised *p, const struct relay *r)
{
	struct signalfd_siginfo info;
	while (read(signals, &info, sizeof info) == (ssize_t)sizeof info) {
		int number = (int)info.ssi_signo;
		if (number == SIGCHLD || number == SIGURG || number == SIGTTOU || number == SIGTTIN)
			continue;
		if (number == SIGWINCH && r->terminal >= 0)
			copy_size(r);
		else
			syscall(SYS_pidfd_send_signal, p->pidfd, number, NULL, 0);
	}
}

static bool reap(const struct supervised *p, int *status)
{
	pid_t pid;
	do
		pid = waitpid(p->pid, status, WNOHANG);
	while (pid < 0 && errno == EINTR);
	return pid != 0;
}

int supervise(const struct supervised *p)
{
	static struct relay r;
	int status = 0;
	bool running = true;
	sigset_t set;
	r.terminal = p->terminal;
	r.from = r.terminal >= 0 ? 0 : -1;
	r.to = 1;
	forwarded(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (r.terminal >= 0)
		connect_terminal(&r);
	while (running || (r.terminal >= 0) || r.out_size > 0) {
		struct pollfd polled[] = {
			{.fd = running ? p->pidfd : -1, .events = POLLIN},
			{.fd = signals, .events = POLLIN},
			{.fd = r.terminal, .events = (short)((r.out_size < BUFFER ? POLLIN : 0) | (r.in_size > 0 ? POLLOUT : 0))},
			{.fd = r.in_size < BUFFER ? r.from : -1, .events = POLLIN},
			{.fd = r.out_size > 0 ? r.to : -1, .events = POLLOUT},
		};
		int n = poll(polled, 5, running ? -1 : DRAIN_MS);
		if (n == 0)
			break;
		if (n < 0)
			continue;
		if (polled[1].revents)
			pass_signals(signals, p, &r);
		if (polled[2].revents & (POLLIN | POLLHUP) && !take(r.terminal, r.out, &r.out_size))
			r.terminal = -1;
		if (r.terminal >= 0 && polled[2].revents & POLLOUT)
			give(r.terminal, r.in, &r.in_size);
		if (polled[3].revents && !take(r.from, r.in, &r.in_size))
			r.from = -1;
		if (polled[4].revents)
			give(r.to, r.out, &r.out_size);
		if (polled[0].revents)
			running = !reap(p, &status);
	}
	if (r.raw)
		tcsetattr(0, TCSANOW, &r.before);
	close(signals);
	return status;
}
