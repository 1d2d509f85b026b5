/*
 * The zygote: forks an executor for every plan and carries frames between executors and the planner, which share one stream. Each executor has a
 * socket pair of its own, so that none holds the planner's stream or another's, and none can garble another's frames.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "keel.h"
#include "plan.h"
#include "wire.h"

enum { MAX_CHANNELS = 4096, CLIENT_QUEUE_MAX = 1 << 20 };

struct channel {
	uint32_t id;
	int fd; /* -1 after its end of file */
	pid_t pid;
	bool ended; /* its last message has passed; nothing more is told of it */
	bool kept;  /* it has become a keeper, which is never told by a signal to go */
	struct inbox in;
	struct outbox out;
};

struct zygote {
	int client, signals;
	pid_t pid;
	struct inbox in;
	struct outbox out;
	struct channel *channels;
	uint32_t count;
	struct pollfd *polled;
};

void reset_signals(void)
{
	sigset_t none;
	for (int signal_number = 1; signal_number < 65; signal_number++)
		signal(signal_number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void tell_client(struct zygote *z, uint32_t id, uint32_t type, const void *bytes, size_t size)
{
	struct iovec part = {(void *)(uintptr_t)bytes, size};
	if (outbox_send(&z->out, z->client, id, type, &part, 1))
		_exit(0); /* the planner is gone */
}

static void forget_channel(struct zygote *z, struct channel *c)
{
	if (c->fd >= 0)
		close(c->fd);
	inbox_free(&c->in);
	outbox_free(&c->out);
	*c = z->channels[--z->count];
}

static struct channel *find_channel(struct zygote *z, uint32_t id)
{
	for (uint32_t i = 0; i < z->count; i++)
		if (z->channels[i].id == id)
			return &z->channels[i];
	return NULL;
}

static void tell_closed(struct zygote *z, uint32_t id, int32_t status)
{
	tell_client(z, id, MESSAGE_CLOSED, &status, sizeof status);
}

/* In the executor: nothing of the zygote is left but its own channel, as descriptor 3. */
_Noreturn static void become_executor(struct zygote *z, int channel, uint32_t id, const uint8_t *plan, size_t size)
{
	reset_signals();
	/* When the zygote is killed, nobody can end an executor that waits in a system call. A keeper ignores the signal. */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != z->pid)
		_exit(3);
	if (dup3(channel, z->client, O_CLOEXEC) < 0)
		_exit(3);
	close_range((unsigned)z->client + 1, ~0U, 0);
	plan_execute(z->client, id, plan, size, z->in.data);
}

static void open_channel(struct zygote *z, uint32_t id, const uint8_t *plan, size_t size)
{
	int pair[2];
	if (find_channel(z, id) || z->count == MAX_CHANNELS) {
		tell_closed(z, id, -EBUSY);
		return;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		tell_closed(z, id, -errno);
		return;
	}
	pid_t pid = fork();
	if (pid == 0)
		become_executor(z, pair[1], id, plan, size);
	int error = -errno;
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		tell_closed(z, id, error);
		return;
	}
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	z->channels[z->count++] = (struct channel){.id = id, .fd = pair[0], .pid = pid, .in.limit = FRAME_MAX};
}

/*
 * The planner wants no more of it. An executor dies of the signal wherever it is; a keeper ignores the signal and sees the end of its channel.
 */
static void close_channel(struct channel *c)
{
	c->ended = true;
	if (!c->kept)
		kill(c->pid, SIGTERM);
	if (c->fd >= 0)
		shutdown(c->fd, SHUT_RDWR);
}

static void take_from_client(struct zygote *z, const struct frame *head, const uint8_t *payload)
{
	struct channel *c = find_channel(z, head->channel);
	struct iovec part = {(void *)(uintptr_t)payload, head->size};
	switch (head->type) {
	case MESSAGE_RUN:
		open_channel(z, head->channel, payload, head->size);
		break;
	case MESSAGE_CLOSE:
		if (c)
			close_channel(c);
		break;
	case MESSAGE_CHUNK:
	case MESSAGE_START: /* a channel that is gone has been, or will be, told to be */
		if (c && c->fd >= 0)
			outbox_send(&c->out, c->fd, head->channel, head->type, &part, 1);
		break;
	default:
		fprintf(stderr, "keel: zygote: unknown message %u\n", head->type);
		_exit(1);
	}
}

static void read_client(struct zygote *z)
{
	struct frame head;
	uint8_t *payload;
	int n = inbox_fill(&z->in, z->client);
	while (n > 0 && (n = inbox_next(&z->in, &head, &payload)) > 0)
		take_from_client(z, &head, payload);
	if (n == -EMSGSIZE)
		fprintf(stderr, "keel: zygote: a message is too large\n");
	if (n < 0)
		_exit(n == -ECONNRESET ? 0 : 1); /* executors see the end of their channels; keepers have left already */
}

/* Passes whole frames on. False at the end of the stream. */
static bool read_channel(struct zygote *z, struct channel *c)
{
	struct frame head;
	uint8_t *payload;
	int n = inbox_fill(&c->in, c->fd);
	while (n > 0 && (n = inbox_next(&c->in, &head, &payload)) > 0) {
		if (head.type == MESSAGE_KEPT)
			c->kept = true;
		if (!c->ended)
			tell_client(z, c->id, head.type, payload, head.size);
		if (head.type == MESSAGE_DONE || head.type == MESSAGE_FAILED || head.type == MESSAGE_STARTED)
			c->ended = true;
		n = 1;
	}
	return n >= 0;
}

/* An executor or keeper has gone: what it said last is passed on before its end is told. */
static void reap(struct zygote *z)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;
	while (read(z->signals, &info, sizeof info) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct channel *c = NULL;
		for (uint32_t i = 0; i < z->count && !c; i++)
			if (z->channels[i].pid == pid)
				c = &z->channels[i];
		if (!c)
			continue;
		size_t before;
		do {
			before = c->in.end - c->in.start;
		} while (c->fd >= 0 && read_channel(z, c) && c->in.end - c->in.start != before);
		if (!c->ended)
			tell_closed(z, c->id, status);
		forget_channel(z, c);
	}
}

static void serve_channel(struct zygote *z, struct channel *c, short events)
{
	bool alive = true;
	if (events & POLLOUT)
		outbox_flush(&c->out, c->fd);
	if (events & (POLLIN | POLLHUP | POLLERR))
		alive = read_channel(z, c);
	if (alive)
		return;
	if (c->ended) { /* a keeper that has started leaves its channel and lives on */
		forget_channel(z, c);
		return;
	}
	close(c->fd); /* its end is told when it is reaped */
	c->fd = -1;
}

static void serve_once(struct zygote *z)
{
	struct pollfd *p = z->polled;
	bool full = outbox_pending(&z->out) > CLIENT_QUEUE_MAX;
	p[0] = (struct pollfd){.fd = z->client, .events = (short)(POLLIN | (outbox_pending(&z->out) ? POLLOUT : 0))};
	p[1] = (struct pollfd){.fd = full ? -1 : z->signals, .events = POLLIN};
	uint32_t count = z->count;
	for (uint32_t i = 0; i < count; i++) {
		struct channel *c = &z->channels[i];
		p[i + 2] = (struct pollfd){.fd = full ? -1 : c->fd, .events = (short)(POLLIN | (outbox_pending(&c->out) ? POLLOUT : 0))};
	}
	if (poll(p, count + 2, -1) < 0)
		return;
	for (uint32_t i = count; i-- > 0;) /* downwards: the last one takes the place of one that is forgotten */
		if (p[i + 2].revents)
			serve_channel(z, &z->channels[i], p[i + 2].revents);
	if (p[0].revents & POLLOUT && outbox_flush(&z->out, z->client))
		_exit(0);
	if (p[1].revents)
		reap(z);
	if (p[0].revents & ~POLLOUT)
		read_client(z);
}

int zygote_run(int client)
{
	struct zygote z = {.client = client, .pid = getpid(), .in.limit = FRAME_MAX};
	sigset_t watched;
	/* A session of its own: the terminal's signals are for the planner, and keepers live longer than any terminal. */
	setsid();
	if (chdir("/") < 0)
		return 1;
	sigemptyset(&watched);
	sigaddset(&watched, SIGCHLD);
	sigprocmask(SIG_BLOCK, &watched, NULL);
	signal(SIGPIPE, SIG_IGN);
	z.signals = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
	z.channels = mmap(NULL, MAX_CHANNELS * sizeof *z.channels, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	z.polled = mmap(NULL, (MAX_CHANNELS + 2) * sizeof *z.polled, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (z.signals < 0 || z.channels == MAP_FAILED || z.polled == MAP_FAILED || fcntl(client, F_SETFL, O_NONBLOCK) < 0)
		return 1;
	for (;;)
		serve_once(&z);
}
